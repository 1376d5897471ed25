#!/usr/bin/env python3
"""Checks the package on a machine with systemd: `cargo xtask package --check-systemd`.

Started by `check.service` in an emulated guest that has nothing else; `/check/old.deb` is an older version
whose BPF object is another one, `/check/new.deb` the one that is checked.
"""

import grp
import os
import re
import subprocess
import time
from pathlib import Path

from tally import alone_on, expect, run, tell

SLICE = Path("/sys/fs/cgroup/cordon.slice")
PINS = Path("/sys/fs/bpf/cordon")
OVERRIDE = Path("/run/systemd/system/cordon.service.d/check.conf")
RUNNER = Path("/etc/systemd/system/runner.service")
EVIDENCE = Path("/var/lib/cordon/evidence")
STARTED = RUNNER.with_name("started.service")
EXAMPLE = "/usr/share/doc/cordon/examples/runner.service.d-cordon.conf"
# In the guest there is no module for it, or it was not asked for at boot; the sandbox of the service starts no
# commands of jobs; and the key is a plain file.
NOT_NEEDED = {"Landlock", "mount namespace", "pid namespace", "signing key", "socket destroy"}
PROFILE = 'name = "job"\n[limits]\nmemory = "64MiB"\npids = 50\ncpu = "50%"\n'
ADDRESS = "192.0.2.53"
# What a runner tries: connections to the address, until one is let through or refused.
TRY = f"import socket; socket.create_connection(('{ADDRESS}', 8080), timeout=5)"


class Job:
    """A job that lasts until it is told to end."""

    def __init__(self):
        self.until, self.up = Path("/tmp/until"), Path("/tmp/up")
        self.until.unlink(missing_ok=True)
        command = "touch /tmp/up; until test -e /tmp/until; do sleep 0.2; done"
        words = ("cordon", "run", "--profile", "/tmp/job.toml", "--", "sh", "-c", command)
        self.cordon = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=open("/tmp/job.log", "w"), stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 120
        while not self.up.exists():
            expect(self.cordon.poll() is None and time.monotonic() < deadline, Path("/tmp/job.log").read_text())
            time.sleep(0.1)
        self.up.unlink()

    def limits(self):
        [group] = SLICE.glob("job-*")
        return [(group / name).read_text().strip() for name in ("memory.max", "pids.max", "cpu.max")]

    def end(self):
        self.until.touch()
        status = self.cordon.wait(timeout=120)
        expect(status == 0, f"status {status}: {Path('/tmp/job.log').read_text()}")


def journal():
    """What the service said."""
    return run("journalctl", "--no-pager", "--output=cat", "--unit=cordon.service", status=None)


def service(kind, *command):
    """Has the service run something else in its sandbox."""
    OVERRIDE.parent.mkdir(parents=True, exist_ok=True)
    OVERRIDE.write_text(
        f"[Service]\nType={kind}\nExecStart=\nExecStart={' '.join(command)}\nRestart=no\nWatchdogSec=0\n"
        "StandardOutput=file:/run/service.out\nStandardError=inherit\n"
    )
    run("systemctl", "stop", "cordon.service")
    run("systemctl", "daemon-reload")
    run("systemctl", "reset-failed", "cordon.service", status=None)
    run("systemctl", "start", "cordon.service", status=None)
    return Path("/run/service.out").read_text()


def daemon_again():
    """The service is itself again."""
    run("systemctl", "stop", "cordon.service")
    OVERRIDE.unlink()
    run("systemctl", "daemon-reload")
    run("systemctl", "reset-failed", "cordon.service", status=None)
    run("systemctl", "start", "cordon.service")


class Life:
    """The machine, from the first install to the purge."""

    def steps(self):
        yield "the package installs, and its service is enabled", self.install
        yield "the service runs", self.daemon
        yield "the slice has all controllers", self.controllers
        yield "the sandbox of the service lets its programs load", self.sandbox
        yield "limits of a job outlive reloads and other units of the slice", self.limits
        yield "an upgrade under a job replaces the programs and keeps its limits", self.upgrade
        yield "a removal under a job is refused", self.refused
        yield "the slice and the programs outlive the last job", self.stays
        yield "a job whose cordon was killed is taken over in the sandbox of the service", self.resume
        yield "a key that is an encrypted credential of the service signs, and evidence says how it is kept", self.credential
        yield "a service in the slice starts each time", self.starts
        yield "a runner in the slice is denied", self.runner
        yield "a removal takes programs and slices down, and then no runner starts", self.remove
        yield "a purge keeps keys and evidence", self.purge

    def install(self):
        run("dpkg", "--install", "/check/old.deb")
        expect(run("systemctl", "is-enabled", "cordon.service").strip() == "enabled", "not enabled")

    def daemon(self):
        status = run("systemctl", "status", "--no-pager", "cordon.service", status=None)
        expect("Active: active (running)" in status, status + journal())
        run("systemctl", "reload", "cordon.service")
        time.sleep(2)
        run("systemctl", "is-active", "cordon.service")
        socket = os.stat("/run/cordon/cordon.sock")
        expect(oct(socket.st_mode & 0o777) == "0o660", oct(socket.st_mode))
        expect(grp.getgrgid(socket.st_gid).gr_name == "cordon", socket.st_gid)
        # Longer than the watchdog waits.
        time.sleep(35)
        expect("NRestarts=0" in run("systemctl", "show", "--property=NRestarts", "cordon.service"), "it was restarted")
        run("systemctl", "is-active", "cordon.service")

    def controllers(self):
        run("systemctl", "start", "cordon.slice")
        handed_down = set((SLICE / "cgroup.subtree_control").read_text().split())
        expect({"cpu", "io", "memory", "pids"} <= handed_down, handed_down)

    def sandbox(self):
        said = service("oneshot", "/usr/bin/cordon", "doctor")
        wrong = {match.strip() for match in re.findall(r"^  (?:does not work|could not tell)  (.{23})", said, re.M)}
        expect("works          BPF LSM" in said and wrong <= NOT_NEEDED, said)
        daemon_again()

    def limits(self):
        self.job = Job()
        expected = ["67108864", "50", "50000 100000"]
        expect(self.job.limits() == expected, self.job.limits())
        self.inode = SLICE.stat().st_ino
        for words in (
            ("systemctl", "daemon-reload"),
            ("systemctl", "daemon-reexec"),
            ("systemctl", "set-property", "--runtime", "cordon.slice", "CPUWeight=50"),
            ("systemd-run", "--slice=cordon.slice", "true"),
        ):
            run(*words)
            time.sleep(1)
            expect(self.job.limits() == expected, f"after {words}: {self.job.limits()}")

    def upgrade(self):
        before = self.job.limits()
        said = run("dpkg", "--install", "/check/new.deb")
        expect("replaced" in said, said)
        expect("that of this cordon" in run("cordon", "host", "status"), said)
        expect(self.job.limits() == before and self.job.cordon.poll() is None, self.job.limits())
        expect(run("systemctl", "is-active", "cordon.service", status=None).strip() == "active", journal())

    def refused(self):
        said = run("dpkg", "--remove", "cordon", status=1)
        expect("jobs are running" in said, said)
        expect(self.job.cordon.poll() is None, "the job was ended")

    def stays(self):
        self.job.end()
        expect(SLICE.stat().st_ino == self.inode, "the slice is another one")
        expect(any(PINS.iterdir()), "nothing is pinned")

    def resume(self):
        run("systemctl", "stop", "cordon.service")
        before = set(EVIDENCE.iterdir())
        job = Job()
        job.cordon.kill()
        job.cordon.wait()
        expect("its cordon is dead" in run("cordon", "host", "status"), "it is watched")
        service("exec", "/usr/bin/cordon", "resume")
        deadline = time.monotonic() + 60
        while "watched by its cordon" not in run("cordon", "host", "status"):
            expect(time.monotonic() < deadline, Path("/run/service.out").read_text())
            time.sleep(0.5)
        job.until.touch()
        while "has ended" not in Path("/run/service.out").read_text():
            expect(time.monotonic() < deadline, Path("/run/service.out").read_text())
            time.sleep(0.5)
        [folder] = set(EVIDENCE.iterdir()) - before
        expect("INTERRUPTED" in run("cordon", "report", "show", str(folder)), folder)
        run("cordon", "report", "verify", str(folder), "--key", "/var/lib/cordon/keys/report.pem.pub")
        daemon_again()

    def credential(self):
        plain, sealed = Path("/run/cordon-key/report-key"), Path("/etc/cordon/report-key.cred")
        settings = Path("/etc/cordon/config.toml")
        words = settings.read_text()
        run("cordon", "key", "generate", "--out", str(plain))
        run("systemd-creds", "encrypt", "--with-key=host", "--name=report-key", str(plain), str(sealed))
        plain.unlink()
        folder = OVERRIDE.parent
        folder.mkdir(parents=True, exist_ok=True)
        example = Path("/usr/share/doc/cordon/examples/cordon.service.d-credential.conf")
        (folder / "credential.conf").write_text(example.read_text())
        settings.write_text(
            f'[host]\nsigning_key = "credential:report-key"\nsigning_credential = "{sealed}"\n'
        )
        run("systemctl", "daemon-reload")
        run("systemctl", "restart", "cordon.service")
        before = set(EVIDENCE.iterdir())
        # The daemon signs for it, which alone has the key; the command line has none.
        run("cordon", "run", "--profile", "/tmp/job.toml", "--", "true")
        [evidence] = set(EVIDENCE.iterdir()) - before
        expect('"systemd-creds-host"' in (evidence / "run.json").read_text(), (evidence / "run.json").read_text())
        run("cordon", "report", "verify", str(evidence), "--key", f"{plain}.pub")
        # What is encrypted for another name, or spoilt, starts nothing.
        spoilt = bytearray(sealed.read_bytes())
        spoilt[len(spoilt) // 2] ^= 1
        sealed.write_bytes(spoilt)
        run("systemctl", "restart", "cordon.service", status=1)
        expect("CREDENTIALS" in run("systemctl", "status", "--no-pager", "cordon.service", status=None), "it was started")
        (folder / "credential.conf").unlink()
        sealed.unlink()
        settings.write_text(words)
        run("systemctl", "daemon-reload")
        run("systemctl", "reset-failed", "cordon.service", status=None)
        run("systemctl", "restart", "cordon.service")

    def starts(self):
        # systemd moves a process into its cgroup from both sides; now one comes first, now the other.
        # Until it executes the service, the process tells systemd who it is, and opens the journal.
        STARTED.write_text(
            "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=oneshot\nSlice=cordon.slice\nUser=daemon\n"
            "SupplementaryGroups=cordon\nExecStart=/bin/echo it-started\n"
        )
        run("systemctl", "daemon-reload")
        for attempt in range(1, 41):
            run("systemctl", "start", "started.service", status=None)
            shown = run("systemctl", "show", "--property=Result,ExecMainStatus", "started.service")
            expect("Result=success" in shown, f"attempt {attempt}: {shown}")
        run("journalctl", "--sync")
        said = run("journalctl", "--no-pager", "--output=cat", "--unit=started.service")
        expect(said.count("it-started") == 40, said)

    def runner(self):
        # Outside of the slice the address answers: nobody listens, and that is said.
        said = run("python3", "-c", TRY, status=1)
        expect("ConnectionRefusedError" in said, said)
        RUNNER.write_text(f"[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=oneshot\nExecStart=/usr/bin/python3 -c \"{TRY}\"\nStandardError=file:/run/runner.out\n")
        folder = RUNNER.with_suffix(".service.d")
        folder.mkdir()
        (folder / "cordon.conf").write_text(Path(EXAMPLE).read_text())
        run("systemctl", "daemon-reload")
        Path("/etc/cordon/config.toml").write_text('[[runner]]\nunit = "runner.service"\n')
        run("systemctl", "reload", "cordon.service")
        run("systemctl", "start", "runner.service", status=1)
        said = Path("/run/runner.out")
        journal = run("systemctl", "status", "--no-pager", "runner.service", status=None)
        expect(said.exists(), journal)
        expect("PermissionError" in said.read_text(), said.read_text())

    def remove(self):
        Path("/run/runner.out").unlink()
        # The evidence of the runner that has just ended may still be on its way.
        deadline = time.monotonic() + 60
        while "unit-runner.service" in run("cordon", "host", "status"):
            expect(time.monotonic() < deadline, run("cordon", "host", "status"))
            time.sleep(0.5)
        run("dpkg", "--remove", "cordon")
        expect(not PINS.exists() and not SLICE.exists(), "something is left")
        run("systemctl", "start", "runner.service", status=1)
        expect(not Path("/run/runner.out").exists(), "the runner was started")
        expect("assert" in run("systemctl", "status", "--no-pager", "runner.service", status=None).lower(), "no word why")

    def purge(self):
        said = run("dpkg", "--purge", "cordon")
        expect("/var/lib/cordon is kept" in said, said)
        expect(Path("/var/lib/cordon/keys/report.pem").exists(), "the key is gone")
        expect(not Path("/etc/cordon").exists(), "/etc/cordon")


if __name__ == "__main__":
    alone_on(ADDRESS)
    Path("/tmp/job.toml").write_text(PROFILE)
    tell(Life().steps())
