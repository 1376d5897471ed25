#!/usr/bin/env python3
"""Checks jobs with containers on a host as Debian sets it up: `cargo xtask package --check-containers`.

Started by `check.service` in an emulated guest that has nothing else: systemd, cgroup v2 alone, BPF LSM, and
Docker with systemd as its cgroup driver. `/check/new.deb` is the package.
"""

import json
import socket
import subprocess
import tarfile
import threading
import time
from pathlib import Path

from tally import alone_on, expect, run, tell

CGROUPS = Path("/sys/fs/cgroup")
SLICE = CGROUPS / "cordon.slice"
EVIDENCE = Path("/var/lib/cordon/evidence")
IMAGE = "story:1"
APPLETS = ("cat", "dd", "echo", "head", "nc", "sh", "sleep", "tail", "touch", "true", "wget")
# An address of this machine: for a container it is the host, and for a job it needs a rule.
ADDRESS = "192.0.2.53"
ALLOWED, DENIED = 8080, 8081
PROFILE = f"""name = "job"
[[allow]]
cidr = "{ADDRESS}/32"
ports = [{ALLOWED}]
protocol = "tcp"
[containers]
engine = "mediate"
[limits]
memory = "96MiB"
pids = 60
"""
TRY = f"for port in {ALLOWED} {DENIED}; do nc -w 5 {ADDRESS} $port </dev/null && echo reached-$port; done; true"

RUNNER_SETTINGS = """[[runner]]
unit = "ci-runner.service"
engine_port = 2375
workspace = ["/home/ci/checkout"]
[[grant]]
repository = "acme/app"
profiles = ["job"]
"""
RUNNER = """[Service]
Type=oneshot
User=ci
SupplementaryGroups=cordon
Slice=cordon.slice
NoNewPrivileges=yes
CapabilityBoundingSet=
Environment=GITHUB_ACTIONS=true GITHUB_REPOSITORY=acme/app GITHUB_EVENT_NAME=push HOME=/home/ci
Environment=DOCKER_HOST=tcp://127.0.0.1:2375
StandardOutput=file:/run/ci-runner.out
StandardError=inherit
ExecStartPre=/usr/bin/cordon job status --wait 60
ExecStart=/bin/sh -c "sh /home/ci/checkout/job.sh; exit $?"
"""


class Receiver:
    """Who listens, and counts who comes."""

    def __init__(self, port):
        self.came = 0
        self.listener = socket.create_server((ADDRESS, port))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            connection, _peer = self.listener.accept()
            self.came += 1
            connection.close()


def job(script, status=0):
    """A script as a job with an engine; what it says, and its evidence."""
    before = set(EVIDENCE.iterdir()) if EVIDENCE.exists() else set()
    words = ("cordon", "run", "--profile", "/tmp/job.toml", "--", "sh", "-c", script)
    said = run(*words, status=status, cwd="/srv/work")
    [folder] = set(EVIDENCE.iterdir()) - before
    return said, folder


def egress(folder):
    """The report of egress."""
    return json.loads((folder / "egress-report.json").read_text())


class Host:
    def steps(self):
        yield "the engine runs with cordon's runtime, and with systemd as its driver", self.install
        yield "a container that is no job's is left to systemd", self.others
        yield "containers are in their job's cgroup, and reach what it may", self.edge
        yield "a container's own limits hold within those of its job", self.limits
        yield "what eats all memory or processes is stopped, and that is in the report", self.spent
        yield "a job and its containers outlive reloads of systemd", self.reloads
        yield "an image is built in the job", self.build
        yield "containers of a runner's job are the job, for the service in its sandbox", self.runner
        yield "nothing is left of a job, and systemd was asked for nothing", self.gone
        yield "what comes past the mediator into a job's slice does not run", self.past

    def install(self):
        run("dpkg", "--install", "/check/new.deb")
        Path("/etc/docker").mkdir(exist_ok=True)
        runtime = {"path": "/usr/lib/cordon/cordon-runtime"}
        settings = {"runtimes": {"cordon": runtime}, "default-runtime": "cordon"}
        Path("/etc/docker/daemon.json").write_text(json.dumps(settings))
        run("systemctl", "restart", "docker.service")
        said = run("docker", "info", "--format", "{{.CgroupDriver}} {{.CgroupVersion}} {{.DefaultRuntime}}")
        expect(said.split() == ["systemd", "2", "cordon"], said)
        files = Path("/tmp/image")
        (files / "bin").mkdir(parents=True)
        (files / "bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
        (files / "bin/busybox").chmod(0o755)
        for name in APPLETS:
            (files / "bin" / name).symlink_to("busybox")
        with tarfile.open("/tmp/image.tar", "w") as archive:
            archive.add(files, ".")
        run("docker", "import", "/tmp/image.tar", IMAGE)
        self.allowed, self.denied = Receiver(ALLOWED), Receiver(DENIED)

    def others(self):
        said = run("docker", "run", "--rm", "--cgroupns", "host", IMAGE, "sh", "-c", f"cat /proc/self/cgroup; {TRY}")
        expect("/system.slice/docker-" in said and f"reached-{DENIED}" in said, said)
        expect(self.denied.came == 1, f"{self.denied.came} came: what follows would prove nothing")

    def edge(self):
        said, folder = job(f"docker run --rm {IMAGE} sh -c 'cat /proc/self/cgroup; {TRY}'")
        expect(f"reached-{ALLOWED}" in said and f"reached-{DENIED}" not in said, said)
        expect((self.allowed.came, self.denied.came) == (2, 1), (self.allowed.came, self.denied.came))
        denials = json.dumps(egress(folder)["denials"])
        expect(str(DENIED) in denials, denials)
        run("cordon", "report", "verify", str(folder), "--key", "/var/lib/cordon/keys/report.pem.pub")

    def limits(self):
        look = "for group in /sys/fs/cgroup/cordon.slice/job-*; do cd $group; cat memory.max pids.max; cat */memory.max; done"
        script = f"docker run -d --name it --memory 32m {IMAGE} sleep 60 >/dev/null; {look}"
        said, _folder = job(script)
        numbers = said.split()
        expect(numbers[:2] == [str(96 << 20), "60"] and str(32 << 20) in numbers[2:], said)

    def spent(self):
        said, folder = job(f"docker run --rm {IMAGE} sh -c 'head -c 400000000 /dev/zero | tail >/dev/null'; echo $?")
        [met] = [met for met in egress(folder)["limits"]["events"] if met["kind"] == "out-of-memory"]
        expect(met["count"] == 1 and met["processes"], f"{said}\n{met}")
        # The shell ends at the first fork that is refused; its container lives on until that is looked at.
        many = "(i=0; while [ $i -lt 100 ]; do sleep 5 & i=$((i+1)); done); exec sleep 4"
        said, folder = job(f"docker run --rm {IMAGE} sh -c '{many}'; true")
        [met] = [met for met in egress(folder)["limits"]["events"] if met["kind"] == "fork-refused"]
        expect(met["count"] > 0, f"{said}\n{met}")

    def reloads(self):
        script = (
            f"docker run -d --name it --memory 32m {IMAGE} sleep 600 >/dev/null; touch up;"
            f" until test -e go; do sleep 0.2; done; docker exec it sh -c '{TRY}'; cat {SLICE}/job-*/memory.max"
        )
        words = ("cordon", "run", "--profile", "/tmp/job.toml", "--", "sh", "-c", script)
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/srv/work")
        work = Path("/srv/work")
        while not (work / "up").exists():
            expect(process.poll() is None, "it ended")
        for words in (("systemctl", "daemon-reload"), ("systemctl", "daemon-reexec"), ("systemd-run", "--slice=cordon.slice", "true")):
            run(*words)
        (work / "go").touch()
        said, _ = process.communicate(timeout=240)
        expect(f"reached-{ALLOWED}" in said and f"reached-{DENIED}" not in said and str(96 << 20) in said, said)
        expect(self.denied.came == 1, "the attacker was reached")

    def build(self):
        work = Path("/srv/work")
        (work / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN {TRY}\nRUN cat /proc/self/cgroup\n")
        said, _folder = job("docker build -t made .; docker run --rm made true && echo it-runs")
        expect(f"reached-{ALLOWED}" in said and f"reached-{DENIED}" not in said and "it-runs" in said, said)
        expect(self.denied.came == 1, "the attacker was reached")

    def runner(self):
        run("useradd", "--create-home", "ci")
        work = Path("/home/ci/checkout")
        work.mkdir()
        run("chown", "ci:ci", str(work))
        Path("/etc/cordon/profiles.d").mkdir(exist_ok=True)
        Path("/etc/cordon/profiles.d/job.toml").write_text(PROFILE)
        Path("/etc/cordon/config.toml").write_text(RUNNER_SETTINGS)
        Path("/etc/systemd/system/ci-runner.service").write_text(RUNNER)
        # The daemon does not see what is below /home; the engine and the runner do.
        step = f"pwd; echo made > /w/made; cat /proc/self/cgroup; {TRY}"
        (work / "job.sh").write_text(
            f"cordon job start || exit 70\ndocker run --rm -v {work}:/w -w /w {IMAGE} sh -c '{step}' || exit 71\n"
            f"docker run --rm -v /srv/work:/w {IMAGE} true; test $? = 125 || exit 72\ncordon job finish\n"
        )
        run("systemctl", "daemon-reload")
        run("systemctl", "restart", "cordon.service")
        before = set(EVIDENCE.iterdir())
        run("systemctl", "start", "ci-runner.service", status=None)
        # The journal has the words of a job's processes, and not as the unit's, whose cgroup they have left.
        said = Path("/run/ci-runner.out").read_text()
        expect(run("systemctl", "show", "--property=ExecMainStatus", "ci-runner.service").strip() == "ExecMainStatus=0", said)
        expect(f"reached-{ALLOWED}" in said and f"reached-{DENIED}" not in said and "\n/w\n" in said, said)
        expect(self.denied.came == 1, "the attacker was reached")
        expect((work / "made").read_text() == "made\n", said)
        while not (found := [new for new in set(EVIDENCE.iterdir()) - before if (new / "seal.sigstore.json").exists() and "unit" not in new.name]):
            time.sleep(0.2)
        report = egress(found[0])
        expect(str(DENIED) in json.dumps(report["denials"]), report["denials"])
        engine = [layer["detail"] for layer in report["coverage"]["layers"] if layer["name"] == "container engine"]
        expect(f"{IMAGE} (1)" in engine[0], engine)
        run("systemctl", "stop", "cordon.service")

    def gone(self):
        expect(run("docker", "ps", "--all", "--quiet").strip() == "", "containers are left")
        expect(not list(SLICE.glob("job-*")), list(SLICE.iterdir()))
        units = run("systemctl", "list-units", "--all", "--plain", "--no-legend", "cordon-*", "docker-*.scope")
        wrong = [line for line in units.splitlines() if not line.startswith("cordon-keep.slice")]
        expect(not wrong, units)

    def past(self):
        said = run("docker", "run", "--rm", "--cgroup-parent", "cordon-job-0.slice", IMAGE, "true", status=None)
        expect("cordon knows no job" in said, said)


if __name__ == "__main__":
    alone_on(ADDRESS)
    Path("/tmp/job.toml").write_text(PROFILE)
    Path("/srv/work").mkdir(parents=True)
    tell(Host().steps())
