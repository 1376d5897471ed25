"""Checks, one a line, and their count."""

import os
import subprocess
import sys
from pathlib import Path

COUNTS = {"passed": 0, "failed": 0, "skipped": 0}


class Skip(Exception):
    """A check of something that is not there yet."""


def run(*words, status=0, **more):
    """Runs a program; gives what it prints. Another status than the expected one is a failure."""
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, **more
    )
    if status is not None and done.returncode != status:
        raise AssertionError(f"{' '.join(words)}: status {done.returncode}, not {status}\n{done.stdout}")
    return done.stdout


def check(name, work):
    try:
        work()
    except Skip as why:
        COUNTS["skipped"] += 1
        print(f"check {name} ... skipped: {why}", flush=True)
    except Exception as error:  # noqa: BLE001: one failure does not hide the others
        COUNTS["failed"] += 1
        print(f"check {name} ... FAILED\n    {type(error).__name__}: {error}", flush=True)
    else:
        COUNTS["passed"] += 1
        print(f"check {name} ... ok", flush=True)


def expect(true, words):
    if not true:
        raise AssertionError(words)


def closing():
    """The last line; gives the exit status."""
    print(f"{COUNTS['passed']} passed, {COUNTS['failed']} failed, {COUNTS['skipped']} skipped", flush=True)
    return 1 if COUNTS["failed"] else 0


def alone_on(address):
    """Makes an emulated machine's only network its own, with an address; its resolver would be there."""
    run("ip", "link", "set", "lo", "up")
    run("ip", "address", "add", f"{address}/32", "dev", "lo")
    Path("/etc/resolv.conf").write_text(f"nameserver {address}\n")


def tell(steps):
    """Does all of an emulated machine's work, and ends with the line that its host waits for."""
    os.chdir("/")
    for name, work in steps:
        check(name, work)
    status = closing()
    print(f"guest: exit {status}", flush=True)
    sys.exit(status)
