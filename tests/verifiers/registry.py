"""Evidence in a registry: pushed with `cordon publish`, found and read by tools that are not cordon's.

The registry is Debian's docker-registry, which has no Referrers API, on a port of this machine.
"""

import hashlib
import json
import os
import socket
import subprocess
import time
from pathlib import Path

REPOSITORY = "app"
EVIDENCE_TYPE = "application/vnd.cordon.evidence.v1"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
USER, PASSWORD = "publisher", "not-a-secret"
# bcrypt of the password.
HASH = "$2b$04$AR7NFedQ.oUxP4M.aHH/VeREwlT8OXW3Or.pJMNRtMPTEliDJeb9W"


class Registry:
    """docker-registry, while this is entered."""

    def __init__(self, program, work, private=False):
        self.program, self.work = program, work
        work.mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        access = ""
        if private:
            users = work / "users"
            users.write_text(f"{USER}:{HASH}\n")
            access = f"auth: {{htpasswd: {{realm: test, path: {users}}}}}\n"
        self.settings = work / "registry.yml"
        self.settings.write_text(
            "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
            f"storage: {{filesystem: {{rootdirectory: {work}/store}}, delete: {{enabled: true}}}}\n"
            f'http: {{addr: "{self.address}"}}\n{access}'
        )
        self.process = None

    def __enter__(self):
        log = (self.work / "log").open("wb")
        self.process = subprocess.Popen([self.program, "serve", self.settings], stdout=log, stderr=log)
        host, port = self.address.split(":")
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex((host, int(port))) == 0:
                    return self
            time.sleep(0.05)
        raise RuntimeError(f"the registry does not listen: {(self.work / 'log').read_text()}")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=20)

    def blob(self, sha256):
        return self.work / f"store/docker/registry/v2/blobs/sha256/{sha256[:2]}/{sha256}/data"


def promotable(sample, work):
    """The sample, with its limits held from start to end: a gate denies what is not proved to have held."""
    report = json.loads(sample.read_text())
    limits = report.get("limits", {"resources": []})
    for resource in limits["resources"]:
        if resource["state"] == "changed":
            resource["state"] = "pinned"
    if "changes" in limits:
        limits["changes"] = []
    changed = work / sample.name
    changed.write_text(json.dumps(report))
    return changed


class Bench:
    """What all checks need."""

    def __init__(self, tally, run, cordon, work, oras, last_line):
        self.tally, self.run, self.cordon_program, self.work = tally, run, cordon, work
        self.oras_program, self.last_line = oras, last_line
        self.home = work / "home"
        self.home.mkdir(parents=True)
        self.env = {"HOME": str(self.home), "DOCKER_CONFIG": str(self.home / ".docker")}

    def cordon(self, *arguments, env=None):
        return self.run(self.cordon_program, *arguments, env={**self.env, **(env or {})})

    def oras(self, *arguments, **options):
        words = ("--plain-http",) if arguments[0] != "logout" else ()
        return self.run(self.oras_program, arguments[0], *words, *arguments[1:], env=self.env, **options)

    def expect(self, name, done, status=0):
        detail = f"{done.returncode}: {self.last_line(done.stderr + done.stdout)}"
        self.tally.check(name, done.returncode == status, detail)
        return done

    def image(self, registry, tag):
        """Pushes something that has a digest; returns it."""
        file = self.work / f"{tag}.txt"
        file.write_text(tag)
        reference = f"{registry.address}/{REPOSITORY}:{tag}"
        done = self.oras("push", reference, file.name, cwd=self.work)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return self.oras("resolve", reference).stdout.strip()

    def evidence(self, samples, image):
        """Sealed evidence, bound to an image, and a policy that accepts it."""
        folder = self.work / "evidence"
        key = self.work / "host.pem"
        settings = self.work / "config.toml"
        settings.write_text(f'[host]\nstate_dir = "{self.work}/state"\n')
        shown = ""
        reports = [promotable(sample, self.work) for sample in samples]
        for arguments in (
            ("key", "generate", "--out", key),
            ("--config", settings, "report", "sign", *reports, "--seal", "--key", key, "--evidence", folder),
            ("bind", folder, "--subject", f"registry.test/app@{image}", "--key", key),
            ("key", "show", f"{key}.pub"),
        ):
            done = self.cordon(*arguments)
            if done.returncode != 0:
                raise RuntimeError(done.stderr)
            shown = done.stdout
        identity = next(word for word in shown.split() if word.startswith("SHA256:"))
        policy = self.work / "policy.toml"
        policy.write_text(
            f'name = "release"\n[[key]]\nrole = "report"\nfingerprint = "{identity}"\n'
            f'pem = """\n{Path(f"{key}.pub").read_text()}"""\n[evidence]\nmax_age = "3650d"\n'
            '[run]\nstatus = [2]\n[allowed]\nsweep_gaps = 1000\n[sweep]\nfindings = "allow"\n'
        )
        return folder, policy, Path(f"{key}.pub")

    def verify(self, evidence, policy, *more, env=None):
        words = ("verify", evidence, "--policy", policy, "--unsigned-policy", "--json", *more)
        return self.cordon(*words, env=env)


def check(bench, docker_registry, cosign, samples):
    """All of it: `cosign` is a function (public key, type, image) -> completed process."""
    with Registry(docker_registry, bench.work / "registry") as registry:
        digest = bench.image(registry, "one")
        reference = f"oci://{registry.address}/{REPOSITORY}@{digest}"
        folder, policy, public = bench.evidence(samples, digest)
        nothing = bench.verify(reference, policy, "--plain-http")
        bench.expect("cordon verify exits with 3 where nothing refers to the image", nothing, 3)
        check_publish(bench, folder, reference)
        check_gate(bench, folder, policy, reference, digest)
        check_oras(bench, registry, folder, digest)
        if cosign is not None:
            check_cosign(bench, registry, cosign, public, digest)
        check_refusals(bench, registry, folder, policy, reference)
    gone = bench.verify(reference, policy, "--plain-http", "--timeout", "5")
    bench.expect("cordon verify exits with 8 where no registry is", gone, 8)
    check_private(bench, docker_registry, samples)


def check_publish(bench, folder, reference):
    (folder / "notes.txt").write_text("for nobody else")
    done = bench.expect("cordon publish publishes", bench.cordon("publish", folder, reference, "--plain-http"))
    sent = done.stdout.count("\nsent ")
    bench.tally.check("the evidence and its five statements are sent", sent == 6, done.stdout)
    bench.tally.check("what is not sealed is named, and stays here", "notes.txt" in done.stderr, done.stderr)
    (folder / "notes.txt").unlink()
    again = bench.expect("cordon publish publishes again", bench.cordon("publish", folder, reference, "--plain-http"))
    good = "\nsent " not in again.stdout and again.stdout.count("\npresent ") == 6
    bench.tally.check("and sends nothing a second time", good, again.stdout)


def check_gate(bench, folder, policy, reference, digest):
    here = bench.verify(folder, policy, "--subject", digest, "--now", "2026-11-22T12:00:00Z")
    there = bench.verify(reference, policy, "--plain-http", "--now", "2026-11-22T12:00:00Z")
    bench.expect("cordon verify promotes on the directory", here)
    bench.expect("cordon verify promotes on the registry", there)
    same = here.returncode == 0 and json.loads(here.stdout) == json.loads(there.stdout)
    bench.tally.check("and both decisions are the same, word for word", same, there.stdout)
    other = bench.verify(reference, policy, "--plain-http", "--subject", "sha256:" + "a" * 64)
    bench.expect("cordon verify exits with 5 for another image", other, 5)


def check_oras(bench, registry, folder, digest):
    image = f"{registry.address}/{REPOSITORY}@{digest}"
    done = bench.expect("oras discovers what refers to the image", bench.oras("discover", "-o", "json", image))
    manifests = json.loads(done.stdout)["manifests"] if done.returncode == 0 else []
    types = sorted(manifest["artifactType"] for manifest in manifests)
    bench.tally.check("oras sees one set of evidence and five statements", types == [EVIDENCE_TYPE] + [BUNDLE_TYPE] * 5, types)
    found = [manifest["digest"] for manifest in manifests if manifest["artifactType"] == EVIDENCE_TYPE]
    pulled = bench.work / "pulled"
    reference = f"{registry.address}/{REPOSITORY}@{found[0] if found else digest}"
    bench.expect("oras pulls the evidence", bench.oras("pull", "-o", pulled, reference))
    names = sorted(file.name for file in folder.iterdir())
    same = pulled.is_dir() and names == sorted(file.name for file in pulled.iterdir())
    same = same and all((pulled / name).read_bytes() == (folder / name).read_bytes() for name in names)
    bench.tally.check("and it is the directory that was published, file for file", same)


def check_cosign(bench, registry, cosign, public, digest):
    image = f"{registry.address}/{REPOSITORY}@{digest}"
    binding = "urn:cordon:attestation:image-binding:v1"
    bench.expect("cosign verify-attestation finds the binding and accepts it", cosign(public, binding, image))
    bench.expect("cosign verify-attestation refuses a type that is not there", cosign(public, "urn:cordon:none", image), 1)


def check_refusals(bench, registry, folder, policy, reference):
    other = bench.image(registry, "two")
    done = bench.cordon("publish", folder, f"oci://{registry.address}/{REPOSITORY}@{other}", "--plain-http")
    bench.expect("cordon publish exits with 5 for an image that the evidence is not about", done, 5)
    nowhere = f"oci://{registry.address}/nowhere@{reference.rsplit('@', 1)[1]}"
    done = bench.cordon("publish", folder, nowhere, "--plain-http")
    bench.expect("cordon publish exits with 3 where the image is not", done, 3)
    bench.expect("cordon verify exits with 2 for a tag", bench.verify(f"oci://{registry.address}/{REPOSITORY}:one", policy), 2)
    done = bench.verify(reference, policy)
    bench.expect("cordon verify exits with 8 where there is no TLS and it was not waived", done, 8)
    run = (folder / "run.json").read_bytes()
    blob = registry.blob(hashlib.sha256(run).hexdigest())
    blob.write_bytes(run.replace(b'"denied": 5', b'"denied": 0', 1))
    bench.expect("cordon verify exits with 7 for a blob that the registry changed", bench.verify(reference, policy, "--plain-http"), 7)
    blob.unlink()
    bench.expect("cordon verify exits with 3 for a blob that the registry lost", bench.verify(reference, policy, "--plain-http"), 3)
    blob.write_bytes(run)
    bench.expect("cordon verify promotes when it is back", bench.verify(reference, policy, "--plain-http"))


def check_private(bench, docker_registry, samples):
    """A registry that wants to know who asks; logins as oras writes them, and by a helper."""
    bench.work = bench.work / "private"
    bench.work.mkdir()
    with Registry(docker_registry, bench.work / "registry", private=True) as registry:
        login = bench.oras("login", "--username", USER, "--password", PASSWORD, registry.address)
        bench.expect("oras logs in", login)
        digest = bench.image(registry, "one")
        reference = f"oci://{registry.address}/{REPOSITORY}@{digest}"
        folder, policy, _ = bench.evidence(samples, digest)
        bench.expect("cordon publish uses the login", bench.cordon("publish", folder, reference, "--plain-http"))
        bench.expect("cordon verify uses the login", bench.verify(reference, policy, "--plain-http"))
        empty = bench.work / "empty.json"
        empty.write_text("{}")
        done = bench.verify(reference, policy, "--plain-http", "--auth-file", empty)
        bench.expect("cordon verify exits with 8 without a login", done, 8)
        helper = bench.work / "docker-credential-test"
        for password, status in ((PASSWORD, 0), ("wrong", 8)):
            helper.write_text(
                f'#!/bin/sh\n[ "$1" = get ] && [ "$(cat)" = "{registry.address}" ] || exit 1\n'
                f'echo \'{{"ServerURL": "x", "Username": "{USER}", "Secret": "{password}"}}\'\n'
            )
            helper.chmod(0o755)
            config = bench.work / "helper.json"
            config.write_text(json.dumps({"credHelpers": {registry.address: "test"}}))
            path = {"PATH": f"{bench.work}:{os.environ['PATH']}"}
            done = bench.verify(reference, policy, "--plain-http", "--auth-file", config, env=path)
            bench.expect(f"cordon verify exits with {status} with the password `{password}` of a helper", done, status)
            told = PASSWORD in done.stdout + done.stderr
            bench.tally.check("and says nothing of it", not told)
