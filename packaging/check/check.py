#!/usr/bin/env python3
"""Checks the packages inside a root that was made for it: `cargo xtask package --check`.

    check.py OLD.deb NEW.deb NEW.rpm

Runs as root, chrooted, in mount, network and IPC namespaces of its own, with a BPF file system of its
own. Its cgroup is a new directory of the cgroup v2 hierarchy, which goes at the end; nothing is
attached above that. OLD.deb is an older version whose BPF object is another one. Each check is a line,
the last line counts them.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from tally import Skip, check, closing, expect, run

OLD, NEW, RPM = sys.argv[1:4]
UNITS = Path("/usr/lib/systemd/system")
UNIT_NAMES = ("cordon.service", "cordon.slice", "cordon-keep.slice")
# In tenths, as systemd-analyze scores: a service that is exposed more fails.
EXPOSURE = 43
GOOD, EVIL, PORT = "192.0.2.10", "198.51.100.66", 8080
# What dpkg, man-db and the tools for accounts write for themselves.
OF_OTHERS = (
    "/var/lib/dpkg/", "/var/log/", "/var/cache/", "/var/lib/systemd/deb-systemd-helper", "/etc/group", "/etc/gshadow",
    "/etc/.pwd.lock", "/etc/passwd", "/etc/shadow", "/run/systemd/", "/tmp/", "/root/", "/proc/", "/sys/", "/dev/", "/check/",
)
def files():
    """Every path of the root that is not another's business."""
    found = set()
    for folder, below, names in os.walk("/"):
        below[:] = [name for name in below if not f"{folder.rstrip('/')}/{name}/".startswith(OF_OTHERS)]
        for name in below + names:
            path = f"{folder.rstrip('/')}/{name}"
            if not path.startswith(OF_OTHERS):
                found.add(path)
    return found


# --- what can be seen without running it -------------------------------------------------------------


def lintian():
    said = run("lintian", "--tag-display-limit", "0", "--fail-on", "error,warning", NEW)
    left = [line for line in said.splitlines() if line.startswith(("E:", "W:"))]
    expect(not left, said)


def units():
    said = run("systemd-analyze", "verify", *(str(UNITS / name) for name in UNIT_NAMES))
    expect("cordon" not in said, said)


def exposure():
    said = run("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", str(UNITS / "cordon.service"))
    print("    " + next(line for line in said.splitlines() if "Overall exposure" in line).strip())


def unit_command():
    line = next(line for line in (UNITS / "cordon.service").read_text().splitlines() if line.startswith("ExecStart="))
    program, *words = line.removeprefix("ExecStart=").split()
    help_text = run(program, "--help")
    if not re.search(rf"^  {words[0]}\b", help_text, re.M):
        raise Skip(f"this cordon has no command `{words[0]}`")
    run(program, *words, "--help")


def settings():
    # As it is shipped: the one in its place is the administrator's by now.
    run("dpkg-deb", "--extract", NEW, "/tmp/shipped")
    path = "/tmp/shipped/etc/cordon/config.toml"
    text = Path(path).read_text()
    expect(text.count("\n#") > 20 and "[host]" in text and "#cgroup_root" in text, text)
    said = run("cordon", "--config", path, "profile", "list")
    expect("github-actions" in said, said)
    expect("/etc/cordon/config.toml" in run("dpkg-query", "--show", "--showformat=${Conffiles}", "cordon"), "no conffile")


def pages():
    found = sorted(Path("/usr/share/man").glob("man*/cordon*"))
    names = [page.name for page in found]
    for name in ("cordon.1.gz", "cordon.8.gz", "cordon-run.1.gz", "cordon.toml.5.gz", "cordon-profile.5.gz"):
        expect(name in names, names)
    for page in found:
        plain = Path("/tmp") / page.stem
        plain.write_text(run("zcat", str(page)))
        run("mandoc", "-T", "lint", "-W", "warning", str(plain))
        said = run("man", "--warnings", "--local-file", str(page), env={**os.environ, "LC_ALL": "C.UTF-8", "MANROFFSEQ": ""})
        expect("NAME" in said and "warning" not in said.split("NAME")[0], f"{page}: {said[:500]}")
    for section, name in (("5", "cordon-profile"), ("1", "cordon-profile"), ("8", "cordon"), ("1", "cordon"), ("5", "cordon.toml")):
        said = run("man", section, name)
        expect(f"{name}({section})" in said, said[:200])
    print(f"    {len(found)} pages")


def completions():
    bash = run(
        "bash", "-c",
        "source /usr/share/bash-completion/bash_completion; _completion_loader cordon; complete -p cordon; "
        "COMP_WORDS=(cordon pro); COMP_CWORD=1; _cordon cordon pro cordon; echo \"reply: ${COMPREPLY[*]}\"",
        status=None,
    )
    expect("reply: profile" in bash and "_cordon" in bash, bash)
    zsh = run(
        "zsh", "-f", "-c",
        "autoload -Uz compinit && compinit -u -D && echo \"for $_comps[cordon]\" && autoload +X _cordon && echo loaded",
    )
    expect("for _cordon" in zsh and "loaded" in zsh, zsh)
    fish = run("fish", "-c", "complete -C 'cordon pro'", env={**os.environ, "HOME": "/tmp"})
    expect(fish.startswith("profile"), fish)


def documents():
    doc = Path("/usr/share/doc/cordon")
    licences = run("zcat", str(doc / "third-party-licences.txt.gz"))
    bill = (doc / "cordon.cdx.json").read_text()
    named = dict(re.findall(r'"purl": "pkg:cargo/([^@]+)@([^"]+)"', bill))
    foreign = ((name, version.replace("%2B", "+")) for name, version in named.items() if not name.startswith("cordon"))
    missing = [name for name, version in foreign if f"\n{name} {version}: " not in licences]
    expect(len(named) > 100 and not missing, missing)
    expect("aya-ebpf" in named and "Apache License" in licences, named)
    for page in (doc / "examples").glob("*.conf"):
        expect(page.read_text().startswith("# "), page)


def rpm():
    info = run("rpm", "--query", "--package", "--info", RPM)
    expect("MIT OR Apache-2.0" in info, info)
    run("rpm", "--checksig", "--nosignature", RPM)
    config = run("rpm", "--query", "--package", "--configfiles", RPM).split()
    expect(config == ["/etc/cordon/config.toml"], config)
    needs = run("rpm", "--query", "--package", "--requires", RPM)
    expect("libc.so.6(GLIBC_" in needs, needs)
    there = "/tmp/rpm-root"
    run("rpm", "--root", there, "--dbpath", "/var/lib/rpm", "--initdb")
    run("rpm", "--root", there, "--install", "--nodeps", "--noscripts", RPM)
    differ = run("rpm", "--root", there, "--verify", "--nodeps", "--noscripts", "cordon")
    expect(not differ.strip(), differ)
    listed = set(run("rpm", "--query", "--package", "--list", RPM).split())
    ours = {path for path in run("dpkg-query", "--listfiles", "cordon").split() if not Path(path).is_dir()}
    mapped = {path.replace("/vendor-completions/_", "/site-functions/_") for path in ours}
    mapped = {path for path in mapped if "lintian" not in path and "changelog.Debian" not in path}
    expect(mapped <= listed, mapped - listed)


def doctor():
    said = run("cordon", "doctor")
    expect("Jobs can be enforced here" in said, said)


# --- life of an installed package --------------------------------------------------------------------


class Receiver:
    """Counts connections to an address that arrive."""

    def __init__(self, address):
        self.arrived = 0
        self.server = socket.create_server((address, PORT))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            connection, _ = self.server.accept()
            self.arrived += 1
            connection.close()


JOB = f"""
import os, socket, sys, time
good = evil = 0
while not os.path.exists("/tmp/until"):
    for address in ("{GOOD}", "{EVIL}"):
        try:
            socket.create_connection((address, {PORT}), timeout=2).close()
            good, evil = good + (address == "{GOOD}"), evil + (address == "{EVIL}")
        except OSError:
            pass
    with open("/tmp/told.new", "w") as told:
        told.write(f"{{good}} {{evil}}")
    os.rename("/tmp/told.new", "/tmp/told")
    time.sleep(0.02)
"""


def told(at_least=None):
    """How often the job reached whom; waits until it reached the good one more often than that."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError, ValueError):
            good, evil = map(int, Path("/tmp/told").read_text().split())
            if at_least is None or good > at_least:
                return good, evil
        time.sleep(0.05)
    raise AssertionError("the job does not go on")


def start(*before):
    for name in ("/tmp/until", "/tmp/told"):
        Path(name).unlink(missing_ok=True)
    log = open("/tmp/job.log", "w")
    return subprocess.Popen([*before, "python3", "/tmp/job.py"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def end(job):
    Path("/tmp/until").touch()
    status = job.wait(timeout=120)
    expect(status == 0, f"status {status}: {Path('/tmp/job.log').read_text()}")


def programs():
    status = run("cordon", "host", "status")
    ids = re.findall(r"^program .*program (\d+)$", status, re.M)
    expect(len(ids) >= 10, status)
    return set(ids), next(line for line in status.splitlines() if line.startswith("object"))


def cgroup():
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words, _, kind = line.partition(" - ")
        if kind.startswith("cgroup2 "):
            return Path(words.split()[4])
    raise AssertionError("no cgroup v2")


def remove_tree(group):
    for below in sorted(group.rglob("*"), reverse=True):
        if below.is_dir():
            with contextlib.suppress(OSError):
                below.rmdir()
    with contextlib.suppress(OSError):
        group.rmdir()


def environment():
    for address in (GOOD, EVIL):
        run("ip", "address", "add", f"{address}/32", "dev", "lo")
    run("ip", "link", "set", "lo", "up")
    Path("/etc/resolv.conf").unlink(missing_ok=True)
    Path("/etc/resolv.conf").write_text("nameserver 192.0.2.53\n")
    Path("/tmp/job.py").write_text(JOB)
    Path("/tmp/job.toml").write_text(f'name = "job"\n[[allow]]\ncidr = "{GOOD}/32"\nports = [{PORT}]\n')


CORDON_RUN = ("cordon", "run", "--quiet", "--profile", "/tmp/job.toml", "--evidence", "/var/lib/cordon/evidence/upgraded", "--")


class Life:
    """One machine, from the first install to the purge; each step is a check."""

    def __init__(self):
        self.root = cgroup() / f"cordon-package-{os.getpid()}"
        self.before = files()
        self.settings = f'[host]\ncgroup_root = "{self.root}"\n'

    def steps(self):
        yield "the older version installs", self.install
        yield "doctor finds that jobs can be enforced", doctor
        yield "a job that nobody enforces reaches both, the enforced one only what is allowed", self.job
        yield "an upgrade under a running job replaces programs, and nothing leaks", self.upgrade
        yield "the lint of Debian finds nothing", lintian
        yield "systemd takes the units", units
        yield "the service is exposed no more than it must be", exposure
        yield "the command of the unit is one of the program", unit_command
        yield "the settings are those that are documented", settings
        yield "man pages are well-formed and are found", pages
        yield "completions load and complete in bash, zsh and fish", completions
        yield "licences and the bill of materials name all crates", documents
        yield "the rpm holds the same and installs", rpm
        yield "a removal under a running job is refused", self.refused
        yield "a removal takes the programs out of the kernel and keeps settings and evidence", self.remove
        yield "a purge leaves nothing but keys and evidence, and says so", self.purge

    def install(self):
        run("dpkg", "--install", OLD)
        mode = oct(os.stat("/var/lib/cordon").st_mode & 0o7777)
        expect(mode == "0o700", mode)
        run("getent", "group", "cordon")
        enabled = Path("/etc/systemd/system/multi-user.target.wants/cordon.service")
        expect(enabled.is_symlink(), "not enabled")
        self.root.mkdir()
        Path("/etc/cordon/config.toml").write_text(self.settings)

    def job(self):
        self.good, self.evil = Receiver(GOOD), Receiver(EVIL)
        free = start()
        told(at_least=2)
        end(free)
        expect(self.evil.arrived > 0, "what is to be refused did not arrive without cordon")
        self.evil.arrived = 0
        self.running = start(*CORDON_RUN)
        _, evil = told(at_least=5)
        expect(evil == 0 and self.evil.arrived == 0, f"{evil} {self.evil.arrived}")

    def upgrade(self):
        before, object_before = programs()
        expect("that of this cordon" in object_before, object_before)
        count, _ = told()
        said = run("dpkg", "--install", NEW)
        expect("replaced" in said, said)
        after, object_after = programs()
        expect(not before & after, f"not replaced: {before & after}")
        expect(object_after != object_before and "that of this cordon" in object_after, object_after)
        expect(self.running.poll() is None, Path("/tmp/job.log").read_text())
        _, evil = told(at_least=count + 20)
        end(self.running)
        expect(evil == 0 and self.evil.arrived == 0, f"{evil} {self.evil.arrived}")
        expect(self.good.arrived > 20, self.good.arrived)
        key = "/var/lib/cordon/keys/report.pem.pub"
        run("cordon", "report", "verify", "/var/lib/cordon/evidence/upgraded", "--key", key)
        expect(Path("/etc/cordon/config.toml").read_text() == self.settings, "the settings were changed")
        print(f"    {len(after)} programs replaced, {self.good.arrived} connections allowed, 0 leaked")

    def refused(self):
        job = start("cordon", "run", "--quiet", "--profile", "/tmp/job.toml", "--")
        told(at_least=1)
        said = run("dpkg", "--remove", "cordon", status=1)
        expect("jobs are running" in said, said)
        run("cordon", "host", "status")
        expect(job.poll() is None, "the job was ended")
        end(job)
        expect(self.evil.arrived == 0, self.evil.arrived)

    def remove(self):
        self.kept = self.state()
        expect(any("report.pem" in name for name in self.kept), self.kept)
        # Programs that no job holds: as after a daemon that was killed.
        run("dpkg", "--remove", "cordon")
        pins = list(Path("/sys/fs/bpf").glob("cordon/*"))
        expect(not pins, pins)
        expect(not (self.root / "cordon.slice").exists(), "the slice is still there")
        expect(Path("/etc/cordon/config.toml").read_text() == self.settings, "the settings are gone")
        expect(self.state() == self.kept, "evidence changed")
        expect(not Path("/run/cordon").exists(), "/run/cordon")

    def purge(self):
        Path("/etc/cordon/profiles.d").mkdir(parents=True, exist_ok=True)
        Path("/etc/cordon/profiles.d/own.toml").write_text('name = "own"\n')
        said = run("dpkg", "--purge", "cordon")
        expect("/var/lib/cordon is kept" in said, said)
        expect(self.state() == self.kept, "evidence changed")
        left = sorted(path for path in files() - self.before if not path.startswith("/var/lib/cordon"))
        expect(not left, left)
        expect(run("getent", "group", "cordon", status=2) == "", "the group is left")

    def state(self):
        paths = (path for path in Path("/var/lib/cordon").rglob("*") if path.is_file())
        return {str(path): path.read_bytes() for path in paths}


def main():
    environment()
    life = Life()
    try:
        for name, work in life.steps():
            check(name, work)
    finally:
        running = getattr(life, "running", None)
        if running is not None and running.poll() is None:
            running.send_signal(signal.SIGTERM)
            running.wait(timeout=60)
        remove_tree(life.root)
    return closing()


if __name__ == "__main__":
    sys.exit(main())
