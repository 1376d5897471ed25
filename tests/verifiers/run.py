#!/usr/bin/env python3
"""Has evidence made by cordon verified by verifiers that are not cordon's.

    run.py [--allow-missing] [--only PART] [--tools DIR] CORDON WORKDIR

CORDON is the binary, WORKDIR a directory for keys and evidence (emptied first). Each check is one
line; the last line counts them, and the exit status is 0 only if none failed. Needs no root. What
has to be fetched (Debian's packages cosign, oras and docker-registry, PyPI's securesystemslib,
in-toto-attestation, check-jsonschema, pydantic-ocsf and blake3, npm's @sigstore/verify, and the schema of SARIF with npm's ajv)
is unpacked under --tools (default: target/tools/verifiers) and used again; nothing is installed on the
host. A verifier that cannot be had counts as failed, or with --allow-missing as skipped; those that need
node and npm are skipped where these are not installed.
"""

import argparse
import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import registry

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SARIF = "secret-sweep.sarif"
# The Debian release whose cosign runs on every supported one: it needs only libc6 2.34.
COSIGN_SUITE = "trixie"
# An address where nothing listens: a verifier that looks for the network does not get far.
NO_NETWORK = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}
# How the evidence is spoilt in ways that every verifier must notice.
ENVELOPE_SPOILS = ("flipped-payload", "flipped-signature", "wrong-key")
# And in ways that those must notice that look into the statement.
STATEMENT_SPOILS = ("wrong-type", "wrong-report")


class Kind(NamedTuple):
    """A kind of report: its files, its type, and a fact in the sample with one that is false."""

    name: str
    report: str
    bundle: str
    predicate: str
    fact: bytes
    falsehood: bytes

    @property
    def schema(self):
        return {"sweep": "secret-sweep", "decision": "verification-summary"}.get(self.name, self.name)

    @property
    def sample(self):
        return ROOT / "agent/src/report/golden" / self.report


EGRESS = Kind(
    "egress",
    "egress-report.json",
    "egress.sigstore.json",
    "https://in-toto.io/attestation/runtime-trace/v0.1",
    b'"attempts": 3',
    b'"attempts": 2',
)
SWEEP = Kind(
    "sweep",
    "secret-sweep.json",
    "secret-sweep.sigstore.json",
    "urn:cordon:attestation:secret-sweep:v1",
    b'"times": 3',
    b'"times": 2',
)
RUN = Kind(
    "run",
    "run.json",
    "run.sigstore.json",
    "urn:cordon:attestation:runner-run:v1",
    b'"denied": 5',
    b'"denied": 4',
)
# Statements that are not about a report: each about the file that is named here.
SEAL = Kind(
    "seal",
    "run.json",
    "seal.sigstore.json",
    "https://in-toto.io/attestation/reference/v0.1",
    b'"denied": 5',
    b'"denied": 4',
)
BINDING = Kind(
    "binding",
    "seal.sigstore.json",
    "binding.sigstore.json",
    "urn:cordon:attestation:image-binding:v1",
    b'"mediaType"',
    b'"mediatype"',
)
POLICY = Kind(
    "trust-policy",
    "policy.toml",
    "policy.toml.sigstore.json",
    "urn:cordon:attestation:trust-policy:v1",
    b'"1d"',
    b'"9d"',
)
DECISION = Kind(
    "decision",
    "image.bin",
    "vsa.sigstore.json",
    "https://slsa.dev/verification_summary/v1",
    b"image",
    b"IMAGE",
)


class Missing(Exception):
    """A verifier that cannot be had, and why."""


class NoNode(Missing):
    """A verifier that needs node and npm, which are not on this machine."""


class Tally:
    """Counts and prints checks."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def check(self, name, good, detail=""):
        if good:
            self.passed += 1
        else:
            self.failed += 1
        suffix = f": {detail}" if detail and not good else ""
        print(f"{'ok  ' if good else 'FAIL'}  {name}{suffix}", flush=True)

    def skip(self, name, detail):
        self.skipped += 1
        print(f"skip  {name}: {detail}", flush=True)

    def finish(self):
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        print(f"{self.passed} passed, {self.failed} failed{skipped}")
        return 0 if self.failed == 0 and self.passed > 0 else 1


def run(*command, timeout=60, env=None, **options):
    """Runs a command; never raises for its status."""
    merged = {**os.environ, **(env or {})}
    command = [str(part) for part in command]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=merged, **options)


def obtain(*command, **options):
    """Runs a command that makes a verifier available."""
    try:
        done = run(*command, timeout=600, **options)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(str(error)) from error
    if done.returncode != 0:
        raise Missing(f"`{command[0]}` failed: {last_line(done.stderr or done.stdout)}")
    return done.stdout


def last_line(text):
    lines = text.strip().splitlines()
    return lines[-1] if lines else "(no output)"


def tool(name):
    if shutil.which(name) is None:
        raise Missing(f"`{name}` is not on this machine")
    return name


def node():
    if not (shutil.which("node") and shutil.which("npm")):
        raise NoNode


# === evidence ===


class Evidence:
    """Directories of evidence: a good one, and one spoilt in each way."""

    def __init__(self, cordon, work, kind):
        self.cordon = cordon
        self.work = work
        self.kind = kind
        work.mkdir(parents=True)
        self.key, self.public = self.make_key("host")
        _, self.other_public = self.make_key("other")
        self.good = work / "good"
        self.make()
        self.bundle = json.loads((self.good / self.kind.bundle).read_text())

    def make(self):
        self.cordon_ok("report", "sign", self.kind.sample, "--key", self.key, "--evidence", self.good)

    def make_key(self, name):
        private = self.work / f"{name}.pem"
        self.cordon_ok("key", "generate", "--out", private)
        return private, self.work / f"{name}.pem.pub"

    def cordon_ok(self, *arguments):
        done = run(self.cordon, *arguments)
        if done.returncode != 0:
            sys.exit(f"`cordon {arguments[0]} {arguments[1]}` failed: {last_line(done.stderr)}")
        return done.stdout

    @property
    def key_id(self):
        return self.bundle["verificationMaterial"]["publicKey"]["hint"]

    def payload(self, bundle=None):
        return base64.b64decode((bundle or self.bundle)["dsseEnvelope"]["payload"])

    def spoilt(self, how):
        """(directory, public key) of evidence that is wrong in one way."""
        if how == "wrong-key":
            return self.good, self.other_public
        bundle = json.loads(json.dumps(self.bundle))
        report = (self.good / self.kind.report).read_bytes()
        envelope = bundle["dsseEnvelope"]
        if how == "flipped-payload":
            envelope["payload"] = flip(envelope["payload"])
        elif how == "flipped-signature":
            envelope["signatures"][0]["sig"] = flip(envelope["signatures"][0]["sig"])
        elif how == "wrong-report":
            report = report.replace(self.kind.fact, self.kind.falsehood, 1)
        elif how == "wrong-type":
            self.sign_again(bundle, predicateType="https://slsa.dev/provenance/v1")
        elif how == "two-signatures":
            envelope["signatures"] *= 2
        elif how == "other-hint":
            bundle["verificationMaterial"]["publicKey"]["hint"] = "SHA256:other"
        text = json.dumps(bundle)
        if how == "twice-named-key":
            text = text.replace("{", '{"mediaType": "text/plain", ', 1)
        elif how == "cut-short":
            text = text[: len(text) // 2]
        return self.store(how, report, text), self.public

    def store(self, name, report, bundle):
        directory = self.work / name
        directory.mkdir()
        (directory / self.kind.report).write_bytes(report)
        if bundle is not None:
            (directory / self.kind.bundle).write_text(bundle)
        return directory

    def sign_again(self, bundle, **changes):
        """A statement with other content, and a signature by the right key: made by openssl."""
        payload = json.dumps({**json.loads(self.payload(bundle)), **changes}).encode()
        bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
        message = self.work / "again.pae"
        message.write_bytes(pae(bundle["dsseEnvelope"]["payloadType"], payload))
        signature = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", self.key, message], capture_output=True, check=True
        ).stdout
        bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()


class Release(Evidence):
    """A whole release: sealed evidence, bound to an image, and decided on by a signed policy."""

    def make(self):
        settings = self.work / "config.toml"
        settings.write_text(f'[host]\nstate_dir = "{self.work}/state"\n')
        reports = (EGRESS.sample, SWEEP.sample)
        sign = ("report", "sign", *reports, "--seal", "--key", self.key, "--evidence", self.good)
        self.cordon_ok("--config", settings, *sign)
        image = self.good / "image.bin"
        image.write_bytes(b"an image")
        digest = hashlib.sha256(image.read_bytes()).hexdigest()
        self.cordon_ok("bind", self.good, "--subject", f"registry.test/app@sha256:{digest}", "--key", self.key)
        policy, vsa = self.good / "policy.toml", self.good / "vsa.sigstore.json"
        host, other = (self.key, self.public), (self.work / "other.pem", self.other_public)
        # Who signs a policy has no role in it; the host's key signs what is judged here.
        (policy_key, policy_public), (gate_key, gate_public) = (host, other) if self.kind is POLICY else (other, host)
        pem = gate_public.read_text()
        shown = self.cordon_ok("key", "show", gate_public)
        identity = next(word for word in shown.split() if word.startswith("SHA256:"))
        policy.write_text(
            f'name = "release"\n[[key]]\nrole = "gate"\nfingerprint = "{identity}"\npem = """\n{pem}"""\n'
            '[evidence]\nmax_age = "1d"\n'
        )
        self.cordon_ok("key", "sign-policy", policy, "--key", policy_key)
        # The only key of this policy may not sign evidence, so that the decision is one against it.
        keys = ("--policy", policy, "--policy-key", policy_public, "--vsa-key", gate_key, "--vsa", vsa)
        decided = run(self.cordon, "verify", self.good, "--subject", digest, "--json", *keys)
        if decided.returncode != 4 or not vsa.exists():
            sys.exit(f"`cordon verify` ended with {decided.returncode}: {last_line(decided.stderr)}")
        self.decided = decided.stdout


def flip(text):
    """The same base64 with one bit of its middle byte turned over."""
    data = bytearray(base64.b64decode(text))
    data[len(data) // 2] ^= 1
    return base64.b64encode(bytes(data)).decode()


def pae(payload_type, payload):
    """DSSE's pre-authentication encoding, written here a second time, from its specification."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


# === verifiers: each a function (directory, public key) -> completed process ===


def own(evidence, _tools):
    return lambda directory, key: run(evidence.cordon, "report", "verify", directory, "--key", key)


def openssl(evidence, _tools):
    tool("openssl")

    def verify(directory, key):
        bundle = json.loads((directory / evidence.kind.bundle).read_text())
        envelope = bundle["dsseEnvelope"]
        message, signature = evidence.work / "pae", evidence.work / "sig"
        message.write_bytes(pae(envelope["payloadType"], evidence.payload(bundle)))
        signature.write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
        return run("openssl", "dgst", "-sha256", "-verify", key, "-signature", signature, message)

    return verify


def cosign(evidence, tools):
    """The bundle, as it is.

    On this path cosign does not compare the predicate's type before its fix of
    GHSA-w6c6-c85g-mmv6 (April 2026), trixie's 2.5.0 included; with the raw envelope it does.
    """
    return cosign_with(evidence, tools, lambda directory, root: [
        "--new-bundle-format",
        f"--trusted-root={root}",
        f"--bundle={directory / evidence.kind.bundle}",
    ])


def cosign_raw(evidence, tools):
    """The envelope out of the bundle."""

    def arguments(directory, _root):
        envelope = evidence.work / "envelope.json"
        envelope.write_text(json.dumps(json.loads((directory / evidence.kind.bundle).read_text())["dsseEnvelope"]))
        return [f"--signature={envelope}"]

    return cosign_with(evidence, tools, arguments)


def cosign_with(evidence, tools, arguments):
    program = cosign_program(tools)
    root = empty_root(evidence.work)
    home = evidence.work / "home"
    home.mkdir(exist_ok=True)

    def verify(directory, key):
        return run(
            program,
            "verify-blob-attestation",
            f"--key={key}",
            "--insecure-ignore-tlog=true",
            *arguments(directory, root),
            f"--type={evidence.kind.predicate}",
            directory / evidence.kind.report,
            env={"HOME": str(home), **NO_NETWORK},
        )

    return verify


def empty_root(work):
    """A file that says that no certificate is trusted: with it cosign asks no network for some."""
    root = work / "empty-root.json"
    lists = ("tlogs", "certificateAuthorities", "ctlogs", "timestampAuthorities")
    kind = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
    root.write_text(json.dumps({"mediaType": kind, **{name: [] for name in lists}}))
    return root


def cosign_program(tools):
    return foreign_program(tools, "cosign")


def foreign_program(tools, name):
    """A program out of its Debian package of another release, by a private apt root."""
    program = tools / name / "usr/bin" / name
    if program.exists():
        return program
    tool("apt-get"), tool("dpkg-deb")
    apt = tools / "apt"
    for part in ("state/lists/partial", "cache/archives/partial"):
        (apt / part).mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()
    (apt / "sources.list").write_text(debian_source())
    (apt / "apt.conf").write_text(
        f'Dir::State "{apt}/state";\nDir::State::status "{apt}/status";\nDir::Cache "{apt}/cache";\n'
        f'Dir::Etc::sourcelist "{apt}/sources.list";\nDir::Etc::sourceparts "-";\n'
        'APT::Sandbox::User "root";\nAcquire::Languages "none";\nAcquire::Retries "2";\n'
    )
    env = {"APT_CONFIG": str(apt / "apt.conf")}
    print(f"      fetching the package lists of {COSIGN_SUITE}, then {name} ...", flush=True)
    obtain("apt-get", "-q", "update", env=env)
    return unpacked_program(tools, name, apt, env)


def own_program(tools, name):
    """A program out of its Debian package of this machine's release: unpacked, not installed."""
    program = tools / name / "usr/bin" / name
    if program.exists():
        return program
    tool("apt-get"), tool("dpkg-deb")
    downloads = tools / "downloads"
    downloads.mkdir(exist_ok=True)
    print(f"      fetching {name} ...", flush=True)
    return unpacked_program(tools, name, downloads, {})


def unpacked_program(tools, name, downloads, env):
    obtain("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", name, env=env, cwd=downloads)
    packages = sorted(downloads.glob(f"{name}_*.deb"))
    if not packages:
        raise Missing(f"apt-get downloaded no package {name}")
    unpacked = tools / f"{name}.new"
    shutil.rmtree(unpacked, ignore_errors=True)
    obtain("dpkg-deb", "-x", packages[-1], unpacked)
    unpacked.rename(tools / name)
    return tools / name / "usr/bin" / name


def debian_source():
    """This machine's own Debian source, with another suite."""
    release = Path("/etc/os-release")
    facts = dict(line.split("=", 1) for line in release.read_text().splitlines() if "=" in line)
    codename = facts.get("VERSION_CODENAME", "").strip('"')
    for uri, suites, signed_by in apt_sources():
        if codename in suites:
            option = f" [signed-by={signed_by}]" if signed_by else ""
            return f"deb{option} {uri} {COSIGN_SUITE} main\n"
    raise Missing("no Debian source among this machine's apt sources")


def apt_sources():
    """(uri, suites, signed-by) of each source of binary packages, of both formats."""
    etc = Path("/etc/apt")
    for file in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.list"))]:
        for line in file.read_text().splitlines() if file.exists() else []:
            words = line.split("#")[0].replace("[", " [ ").replace("]", " ] ").split()
            if words[:1] != ["deb"]:
                continue
            options = {}
            if "[" in words and "]" in words:
                start, end = words.index("["), words.index("]")
                options = dict(word.split("=", 1) for word in words[start + 1 : end] if "=" in word)
                words = words[:start] + words[end + 1 :]
            if len(words) >= 3:
                yield words[1], [words[2]], options.get("signed-by")
    for file in sorted((etc / "sources.list.d").glob("*.sources")):
        for stanza in file.read_text().split("\n\n"):
            lines = [line for line in stanza.splitlines() if ":" in line and line[0] not in "# \t"]
            fields = {name.strip().lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
            if "deb" in fields.get("types", "").split() and fields.get("uris"):
                yield fields["uris"].split()[0], fields.get("suites", "").split(), fields.get("signed-by") or None


SECURESYSTEMSLIB = """
import json, sys
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey
bundle, key, key_id = sys.argv[1:]
key = SSlibKey.from_crypto(load_pem_public_key(open(key, "rb").read()), keyid=key_id)
Envelope.from_dict(json.load(open(bundle))["dsseEnvelope"]).verify([key], 1)
"""


def securesystemslib(evidence, tools):
    venv = tools / "venv"
    python = venv / "bin/python"
    probe = ("-c", "import cryptography, securesystemslib.dsse")
    if not python.exists() or run(python, *probe).returncode != 0:
        print("      making a virtual environment with securesystemslib ...", flush=True)
        shutil.rmtree(venv, ignore_errors=True)
        obtain(sys.executable, "-m", "venv", venv)
        obtain(python, "-m", "pip", "install", "-q", "securesystemslib[crypto]")

    def verify(directory, key):
        return run(python, "-c", SECURESYSTEMSLIB, directory / evidence.kind.bundle, key, evidence.key_id, env=NO_NETWORK)

    return verify


IN_TOTO = """
import json, sys
from google.protobuf.json_format import ParseDict
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
statement = ParseDict(json.load(open(sys.argv[1])), statement_pb2.Statement())
Statement.copy_from_pb(statement).validate()
"""


def in_toto(tools):
    """in-toto's own reader of statements."""
    python = tools / "venv/bin/python"
    if run(python, "-c", "import in_toto_attestation").returncode != 0:
        print("      installing in-toto-attestation into the virtual environment ...", flush=True)
        obtain(python, "-m", "pip", "install", "-q", "in-toto-attestation")
    return lambda file: run(python, "-c", IN_TOTO, file, env=NO_NETWORK)


def check_in_toto(tally, evidence, tools):
    """The statement is one by the library of those who wrote the specification; spoilt, it is none."""
    securesystemslib(evidence, tools)
    validate = in_toto(tools)
    file = evidence.work / "statement.json"
    statement = json.loads(evidence.payload())
    file.write_text(json.dumps(statement))
    done = validate(file)
    tally.check("in-toto-attestation accepts the statement", done.returncode == 0, last_line(done.stderr))
    for how, change in {
        "another type": {"_type": "https://in-toto.io/Statement/v0.1"},
        "no subject": {"subject": []},
        "no predicate type": {"predicateType": ""},
        "a subject without a digest": {"subject": [{"name": "x"}]},
    }.items():
        file.write_text(json.dumps({**statement, **change}))
        tally.check(f"in-toto-attestation refuses: {how}", validate(file).returncode != 0, "it was accepted")


SIGSTORE_JS = """
const { readFileSync } = require('fs');
const { createPublicKey } = require('crypto');
const { bundleFromJSON } = require('@sigstore/bundle');
const { Verifier, toSignedEntity, toTrustMaterial } = require('@sigstore/verify');
const [bundleFile, keyFile] = process.argv.slice(-2);
const publicKey = createPublicKey(readFileSync(keyFile));
const root = { mediaType: '', tlogs: [], certificateAuthorities: [], ctlogs: [], timestampAuthorities: [] };
const trust = toTrustMaterial(root, () => ({ publicKey, validFor: () => true }));
const verifier = new Verifier(trust, { tlogThreshold: 0, ctlogThreshold: 0, tsaThreshold: 0 });
verifier.verify(toSignedEntity(bundleFromJSON(JSON.parse(readFileSync(bundleFile)))));
"""


def sigstore_js(evidence, tools):
    base = tools / "npm"
    node()
    if not (base / "node_modules/@sigstore/verify").exists():
        print("      installing @sigstore/verify into a folder of its own ...", flush=True)
        base.mkdir(parents=True, exist_ok=True)
        (base / "package.json").write_text('{"private": true}')
        packages = ("@sigstore/verify@3", "@sigstore/bundle@4")
        obtain("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *packages, cwd=base)
    return lambda directory, key: run("node", "-e", SIGSTORE_JS, directory / evidence.kind.bundle, key, cwd=base, env=NO_NETWORK)


def cosign_attestation(work, tools):
    """Statements that refer to an image of a registry on this machine."""
    program, root = cosign_program(tools), empty_root(work)
    words = ("--insecure-ignore-tlog=true", "--new-bundle-format", "--allow-http-registry", f"--trusted-root={root}")
    env = {"HOME": str(work / "home"), **NO_NETWORK, "NO_PROXY": "127.0.0.1"}
    return lambda key, kind, image: run(program, "verify-attestation", f"--key={key}", *words, f"--type={kind}", image, env=env)


# === checks ===


def check_registry(tally, cordon, work, tools):
    """Evidence in a registry, for tools that know nothing of cordon."""
    docker_registry = own_program(tools, "docker-registry")
    bench = registry.Bench(tally, run, cordon, work, foreign_program(tools, "oras"), last_line)
    try:
        cosign = cosign_attestation(work, tools)
    except Missing as missing:
        tally.skip("cosign verify-attestation", missing)
        cosign = None
    registry.check(bench, docker_registry, cosign, (EGRESS.sample, SWEEP.sample))


def check_verifier(tally, name, verify, evidence, directories, spoils):
    done = verify(evidence.good, evidence.public)
    tally.check(f"{name} accepts genuine evidence", done.returncode == 0, last_line(done.stderr + done.stdout))
    for how in spoils:
        directory, key = directories[how]
        refused = verify(directory, key).returncode != 0
        tally.check(f"{name} refuses evidence with: {how}", refused, "it was accepted")


def check_own_statuses(tally, evidence, directories):
    expected = {
        "flipped-payload": 4,
        "flipped-signature": 4,
        "wrong-key": 4,
        "wrong-type": 7,
        "wrong-report": 5,
        "two-signatures": 7,
        "other-hint": 7,
        "twice-named-key": 7,
        "cut-short": 7,
    }
    verify = own(evidence, None)
    directories = dict(directories)
    for how in expected.keys() - directories.keys():
        directories[how] = evidence.spoilt(how)
    report = (evidence.good / evidence.kind.report).read_bytes()
    directories["no-bundle"] = evidence.store("no-bundle", report, None), evidence.public
    directories["no-directory"] = evidence.work / "nowhere", evidence.public
    directories["no-key"] = evidence.good, evidence.work / "nowhere.pub"
    expected |= {"no-bundle": 3, "no-directory": 3, "no-key": 8}
    for how, status in expected.items():
        done = verify(*directories[how])
        tally.check(f"cordon report verify exits with {status} for: {how}", done.returncode == status, f"{done.returncode}: {last_line(done.stderr)}")


def check_mixed(tally, evidence, other):
    """Evidence of one kind under the names of the other: signed by the right key, and refused."""
    directory = evidence.work / "mixed"
    directory.mkdir()
    shutil.copy(evidence.good / evidence.kind.report, directory / other.report)
    shutil.copy(evidence.good / evidence.kind.bundle, directory / other.bundle)
    done = own(evidence, None)(directory, evidence.public)
    name = f"cordon report verify exits with 7 for: {evidence.kind.name} in place of {other.name}"
    tally.check(name, done.returncode == 7, f"{done.returncode}: {last_line(done.stderr)}")


def check_both(tally, evidence, other):
    """Both reports in one directory: of one job, of two, and one of them gone."""
    sample = json.loads(other.sample.read_text())
    sample["job"]["id"] = "another"
    changed = evidence.work / "another-job.json"
    changed.write_text(json.dumps(sample))
    both = {}
    for name, file in (("one-job", other.sample), ("two-jobs", changed)):
        both[name] = evidence.work / name
        evidence.cordon_ok("report", "sign", file, "--key", evidence.key, "--evidence", both[name])
        for file in (evidence.kind.report, evidence.kind.bundle):
            shutil.copy(evidence.good / file, both[name] / file)
    both["half"] = shutil.copytree(both["one-job"], evidence.work / "half")
    (both["half"] / evidence.kind.bundle).unlink()
    expected = [
        ("one-job", [], 0),
        ("two-jobs", [], 5),
        ("two-jobs", ["--only", other.name], 0),
        ("half", [], 3),
        ("half", ["--only", other.name], 0),
        ("half", ["--only", evidence.kind.name], 3),
    ]
    for name, only, status in expected:
        done = run(evidence.cordon, "report", "verify", both[name], "--key", evidence.public, *only)
        what = " ".join(["cordon report verify", *only, f"exits with {status} for both reports: {name}"])
        tally.check(what, done.returncode == status, f"{done.returncode}: {last_line(done.stderr)}")
    gone = run(evidence.cordon, "report", "verify", evidence.good, "--key", evidence.public, "--only", other.name)
    tally.check(f"a report that must be there and is gone is missed: {other.name}", gone.returncode == 3)


SARIF_SCHEMA = """
const { readFileSync } = require('fs');
const Ajv = require('ajv');
const ajv = new Ajv({ schemaId: 'auto', allErrors: true });
ajv.addMetaSchema(require('ajv/lib/refs/json-schema-draft-04.json'));
const schema = require('@microsoft/jest-sarif/lib/schemas/sarif-2.1.0-rtm.5.json');
if (!ajv.validate(schema, JSON.parse(readFileSync(process.argv.slice(-1)[0])))) {
  for (const error of ajv.errors) console.error(`${error.dataPath} ${error.message}`);
  process.exit(1);
}
"""


def sarif_schema(tools):
    """SARIF's own JSON schema, out of a package of the format's authors, with npm's ajv."""
    base = tools / "sarif"
    node()
    if not (base / "node_modules/@microsoft/jest-sarif").exists():
        print("      installing @microsoft/jest-sarif and ajv into a folder of its own ...", flush=True)
        base.mkdir(parents=True, exist_ok=True)
        (base / "package.json").write_text('{"private": true}')
        packages = ("@microsoft/jest-sarif@1.0.0-beta.0", "ajv@6")
        obtain("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *packages, cwd=base)
    return lambda file: run("node", "-e", SARIF_SCHEMA, file, cwd=base, env=NO_NETWORK)


MULTITOOL = "@microsoft/sarif-multitool"


def sarif_multitool(tools):
    """The validator of the format's authors, which looks further than a schema."""
    base = tools / "multitool"
    node()
    program = base / "node_modules/.bin/sarif-multitool"
    if not program.exists():
        print(f"      installing {MULTITOOL} into a folder of its own ...", flush=True)
        base.mkdir(parents=True, exist_ok=True)
        (base / "package.json").write_text('{"private": true}')
        obtain("npm", "install", "--no-audit", "--no-fund", f"{MULTITOOL}@5", cwd=base)

    def validate(file):
        """Its errors."""
        found = file.with_suffix(".validated")
        found.unlink(missing_ok=True)
        done = run(program, "validate", file, "--output", found, "--log", "ForceOverwrite", timeout=120)
        if not found.exists():
            raise Missing(f"{MULTITOOL}: {last_line(done.stdout + done.stderr)}")
        results = json.loads(found.read_text())["runs"][0].get("results", [])
        return [result["ruleId"] for result in results if result.get("level") == "error"]

    return validate


def check_multitool(tally, evidence, tools):
    errors = sarif_multitool(tools)
    file = evidence.work / "validate.sarif"
    file.write_text(evidence.cordon_ok("report", "sarif", evidence.good))
    tally.check("sarif-multitool finds no error", errors(file) == [], f"{errors(file)}")
    document = json.loads(file.read_text())
    document["runs"][0]["results"][0]["ruleIndex"] = 9999
    file.write_text(json.dumps(document))
    tally.check("sarif-multitool finds a rule that is not there", errors(file) != [])


def check_denials(tally, evidence, tools):
    """The denials of an egress report."""
    validate = sarif_schema(tools)
    file = evidence.work / "egress.sarif"
    file.write_text(evidence.cordon_ok("report", "sarif", evidence.good, "--only", "egress"))
    done = validate(file)
    tally.check("the schema of SARIF accepts the denials", done.returncode == 0, last_line(done.stderr + done.stdout))
    results = json.loads(file.read_text())["runs"][0]["results"]
    tally.check("each denial is a result", len(results) == 7, f"{len(results)}")


def check_sarif(tally, evidence, tools):
    validate = sarif_schema(tools)
    file = evidence.good / SARIF
    done = validate(file)
    tally.check("the schema of SARIF accepts the findings", done.returncode == 0, last_line(done.stderr + done.stdout))
    printed = evidence.cordon_ok("report", "sarif", evidence.good, "--only", "sweep")
    tally.check("cordon report sarif prints what is in the directory", printed == file.read_text())
    spoils = {
        "no tool name": lambda run: run["tool"]["driver"].pop("name"),
        "unknown level": lambda run: run["results"][0].update(level="fatal"),
        "no message": lambda run: run["results"][0].update(message={}),
        "line 0": lambda run: run["results"][0]["locations"][0]["physicalLocation"]["region"].update(startLine=0),
        "unknown key": lambda run: run["results"][0].update(secret="x"),
    }
    for how, spoil in spoils.items():
        document = json.loads(file.read_text())
        spoil(document["runs"][0])
        spoilt = evidence.work / "spoilt.sarif"
        spoilt.write_text(json.dumps(document))
        tally.check(f"the schema of SARIF refuses: {how}", validate(spoilt).returncode != 0, "it was accepted")


SCHEMAS = ROOT / "docs/schemas"


def json_schema(tools):
    """check-jsonschema, by those who write the schemas of many tools."""
    program = tools / "venv/bin/check-jsonschema"
    python = tools / "venv/bin/python"
    if not python.exists():
        obtain(sys.executable, "-m", "venv", tools / "venv")
    if not program.exists():
        print("      installing check-jsonschema into the virtual environment ...", flush=True)
        obtain(python, "-m", "pip", "install", "-q", "check-jsonschema")

    def validate(name, file):
        schema = SCHEMAS / f"{name}.schema.json"
        # Otherwise a schema that is not there would refuse whatever must be refused.
        schema.stat()
        return run(program, "--no-cache", "--schemafile", schema, file, env=NO_NETWORK)

    return validate


def check_schemas(tally, evidence, tools):
    """The statement, and the report where it is about one, fit their published schemas; spoilt they do not."""
    validate = json_schema(tools)
    folder = evidence.work / "schemas"
    folder.mkdir()
    documents = {f"{evidence.kind.schema}-statement": json.loads(evidence.payload())}
    if evidence.kind in (EGRESS, SWEEP, RUN):
        name = "egress-report" if evidence.kind is EGRESS else evidence.kind.schema
        documents[name] = json.loads((evidence.good / evidence.kind.report).read_text())
    if evidence.kind is DECISION:
        documents["gate-decision"] = json.loads(evidence.decided)
    for schema, document in documents.items():
        check_document(tally, validate, folder, schema, document)


def check_document(tally, validate, folder, schema, document):
    file = folder / f"{schema}.json"
    file.write_text(json.dumps(document))
    done = validate(schema, file)
    tally.check(f"check-jsonschema accepts what {schema}.schema.json is of", done.returncode == 0, done.stdout[-300:])
    for how, spoil in schema_spoils(document):
        spoilt = json.loads(json.dumps(document))
        spoil(spoilt)
        file.write_text(json.dumps(spoilt))
        done = validate(schema, file)
        refused = done.returncode == 1 and "validation errors" in done.stdout
        tally.check(f"check-jsonschema refuses {schema} with: {how}", refused, f"it was not: {last_line(done.stdout)}")


def schema_spoils(document):
    kind = "schema" if "schema" in document else "predicateType"
    yield "another type", lambda spoilt: spoilt.update({kind: "other"})
    yield "no type", lambda spoilt: spoilt.pop(kind)
    if "schema" in document:
        yield "an unknown field", lambda spoilt: spoilt.update(unknown=1)
    else:
        yield "no subject", lambda spoilt: spoilt.pop("subject")
        yield "a predicate that is none", lambda spoilt: spoilt.update(predicate=[])
        for field in list(document["predicate"])[:1]:
            yield f"no {field}", lambda spoilt, field=field: spoilt["predicate"].pop(field)


def check_fingerprint(tally, evidence):
    tool("ssh-keygen")
    wire = run("ssh-keygen", "-i", "-m", "PKCS8", "-f", evidence.public).stdout
    shown = run("ssh-keygen", "-l", "-f", "-", input=wire).stdout.split()
    envelope_id = evidence.bundle["dsseEnvelope"]["signatures"][0]["keyid"]
    good = shown[1:2] == [evidence.key_id] == [envelope_id]
    tally.check("ssh-keygen prints the key id of the evidence", good, f"{shown} is not {evidence.key_id}")


def check_determinism(tally, evidence):
    again = evidence.work / "again"
    evidence.cordon_ok("report", "sign", evidence.kind.sample, "--key", evidence.key, "--evidence", again)
    same = all((again / name).read_bytes() == (evidence.good / name).read_bytes() for name in (evidence.kind.report, evidence.kind.bundle))
    tally.check("the same report and key give the same bytes", same)


EVENTS = ROOT / "agent/src/report/golden/events.ocsf.jsonl"
# Each makes one line no event of OCSF, or none of this chain.
EVENT_SPOILS = {
    "a number that means nothing": ('"severity_id":3', '"severity_id":77'),
    "an action that means nothing": ('"action_id":2', '"action_id":55'),
    "an attribute that is not known": ('"dst_endpoint":{', '"dst_endpoint":{"colour":"red",'),
    "an attribute that is needed left out": ('"direction_id":2,', ""),
    "a process that is no number": ('"pid":4201', '"pid":"x"'),
    "another host": ("runner-3.test", "runner-4.test"),
}


def check_events(tally, work, tools):
    """Single events are events of OCSF by models made of its schema, and their chain is whole by BLAKE3 of others."""
    python = tools / "venv/bin/python"
    if not python.exists():
        obtain(sys.executable, "-m", "venv", tools / "venv")
    if run(python, "-c", "import blake3, ocsf").returncode != 0:
        print("      installing pydantic-ocsf into the virtual environment ...", flush=True)
        obtain(python, "-m", "pip", "install", "-q", "pydantic-ocsf", "blake3")
    judge = lambda file: run(python, HERE / "events.py", "1.6.0", file, env=NO_NETWORK)
    done = judge(EVENTS)
    tally.check("pydantic-ocsf accepts every event", done.returncode == 0, done.stdout[-300:])
    text = EVENTS.read_text()
    work.mkdir(parents=True, exist_ok=True)
    spoilt = work / "events.jsonl"
    for how, (before, after) in EVENT_SPOILS.items():
        spoilt.write_text(text.replace(before, after, 1))
        done = judge(spoilt)
        refused = done.returncode == 1 and "Traceback" not in done.stderr
        tally.check(f"pydantic-ocsf refuses events with: {how}", before in text and refused, last_line(done.stdout))
    lines = text.splitlines(keepends=True)
    spoilt.write_text("".join(lines[:3] + lines[4:]))
    tally.check("a chain without its fourth line is broken", judge(spoilt).returncode == 1, "it was not")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cordon", type=Path, help="the binary")
    parser.add_argument("workdir", type=Path, help="for keys and evidence; a subdirectory is emptied and used")
    parser.add_argument("--tools", type=Path, default=ROOT / "target/tools/verifiers", help="for what is fetched")
    parser.add_argument("--only", metavar="PART", help="only this part: `events`, `registry`, or a kind of statement")
    parser.add_argument("--allow-missing", action="store_true", help="skip verifiers that cannot be had")
    options = parser.parse_args()

    work = options.workdir.resolve() / "verifiers"
    shutil.rmtree(work, ignore_errors=True)
    tools = options.tools.resolve()
    tools.mkdir(parents=True, exist_ok=True)

    tally = Tally()
    wanted = lambda part: options.only in (None, part)
    for kind, other in ((EGRESS, SWEEP), (SWEEP, EGRESS), (RUN, EGRESS)):
        if not wanted(kind.name):
            continue
        print(f"      === {kind.report}", flush=True)
        evidence = Evidence(options.cordon.resolve(), work / kind.name, kind)
        check_kind(tally, evidence, tools, options.allow_missing)
        check_mixed(tally, evidence, other)
        check_both(tally, evidence, other)
        if kind in (EGRESS, SWEEP):
            attempt(tally, "sarif-multitool", options.allow_missing, lambda: check_multitool(tally, evidence, tools))
        if kind is EGRESS:
            attempt(tally, "the schema of SARIF", options.allow_missing, lambda: check_denials(tally, evidence, tools))
        if kind is SWEEP:
            attempt(tally, "the schema of SARIF", options.allow_missing, lambda: check_sarif(tally, evidence, tools))
    for kind in (SEAL, BINDING, POLICY, DECISION):
        if not wanted(kind.name):
            continue
        print(f"      === {kind.bundle}", flush=True)
        evidence = Release(options.cordon.resolve(), work / kind.name, kind)
        check_foreign(tally, evidence, tools, options.allow_missing, evidence_spoils(evidence))
    if wanted("events"):
        print("      === single events", flush=True)
        check = lambda: check_events(tally, work / "events", tools)
        attempt(tally, "pydantic-ocsf", options.allow_missing, check)
    if wanted("registry"):
        print("      === registry", flush=True)
        check = lambda: check_registry(tally, options.cordon.resolve(), work / "registry", tools)
        attempt(tally, "a registry", options.allow_missing, check)
    return tally.finish()


def evidence_spoils(evidence):
    return {how: evidence.spoilt(how) for how in ENVELOPE_SPOILS + STATEMENT_SPOILS}


def check_kind(tally, evidence, tools, allow_missing):
    directories = evidence_spoils(evidence)
    check_own_statuses(tally, evidence, directories)
    check_determinism(tally, evidence)
    verify = own(evidence, tools)
    check_verifier(tally, "cordon report verify", verify, evidence, directories, ENVELOPE_SPOILS + STATEMENT_SPOILS)
    check_foreign(tally, evidence, tools, allow_missing, directories)


def check_foreign(tally, evidence, tools, allow_missing, directories):
    """What verifiers say that are not cordon's."""

    def verifier(name, make, spoils):
        attempt(
            tally,
            name,
            allow_missing,
            lambda: check_verifier(tally, name, make(evidence, tools), evidence, directories, spoils),
        )

    attempt(tally, "ssh-keygen", allow_missing, lambda: check_fingerprint(tally, evidence))
    attempt(tally, "in-toto-attestation", allow_missing, lambda: check_in_toto(tally, evidence, tools))
    attempt(tally, "check-jsonschema", allow_missing, lambda: check_schemas(tally, evidence, tools))
    verifier("openssl", openssl, ENVELOPE_SPOILS)
    verifier("cosign (bundle)", cosign, (*ENVELOPE_SPOILS, "wrong-report"))
    verifier("cosign (raw envelope)", cosign_raw, ENVELOPE_SPOILS + STATEMENT_SPOILS)
    verifier("securesystemslib", securesystemslib, ENVELOPE_SPOILS)
    verifier("sigstore-js", sigstore_js, ENVELOPE_SPOILS)


def attempt(tally, name, allow_missing, check):
    try:
        check()
    except NoNode:
        tally.skip(name, "no node and npm here")
    except Missing as missing:
        if allow_missing:
            tally.skip(name, missing)
        else:
            tally.check(f"{name} can be had", False, missing)


if __name__ == "__main__":
    sys.exit(main())
