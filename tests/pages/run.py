#!/usr/bin/env python3
"""Has the HTML page of evidence judged by a browser and by axe, which are not cordon's.

    run.py [--allow-missing] [--tools DIR] CORDON WORKDIR

CORDON is the binary, WORKDIR a directory for keys, evidence and pages (emptied first). Each check is
one line; the last line counts them, and the exit status is 0 only if none failed. Needs no root.
Chromium, node and npm must be installed (`cargo xtask test` does it on Debian); npm's axe-core and
puppeteer-core are put under --tools (default: target/tools/pages). What cannot be had counts as
failed, or with --allow-missing as skipped.
"""

import argparse
import copy
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
GOLDEN = ROOT / "agent/src/report/golden"
PACKAGES = ("axe-core@4", "puppeteer-core@24")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NAMES = ("egress-report.json", "secret-sweep.json", "run.json")

HOSTILE = {
    "element": "<script>document.title = 'taken'</script>",
    "end of script": "</script><img src=x onerror=alert(1)><!-- <script>",
    "end of style and title": "</style></title></pre></details><h1>x",
    "attribute": "\" onmouseover=\"alert(1)\" x='",
    "entity": "&lt;b&gt;&#60;b&#62;&amp;",
    "terminal": "\u001b[2J\u001b[31mgone\u009b31m",
    "bidi": "\u202egnp.exe\u2066x\u2069",
    "unseen": "zero\u200bwidth\u200d\ufeff\u00ad",
    "lines": "a\r\nb\u2028c\u0085d",
    "template": "{{ 7 * 7 }} {% raw %} ${x}",
    "markdown": "[x](javascript:alert(1)) | ` | **b**",
    "formula": "=HYPERLINK(\"http://evil.test\")",
    "commands": "::error::x %0A::add-mask::x",
    "long": "x" * 4000,
}


class Missing(Exception):
    """Something that cannot be had, and why."""


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
        return 0 if self.failed == 0 and self.passed + self.skipped > 0 else 1


def run(*command, **options):
    """Runs a command; never raises for its status."""
    command = [str(part) for part in command]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, **options)


def browser():
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    raise Missing("no chromium on this machine")


def packages(tools):
    """axe-core and puppeteer-core, in a folder of their own."""
    if not (shutil.which("node") and shutil.which("npm")):
        raise Missing("no node and npm here")
    if not (tools / "node_modules/axe-core").exists() or not (tools / "node_modules/puppeteer-core").exists():
        print("      installing axe-core and puppeteer-core into a folder of their own ...", flush=True)
        tools.mkdir(parents=True, exist_ok=True)
        (tools / "package.json").write_text('{"private": true}')
        done = run("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES, cwd=tools)
        if done.returncode != 0:
            raise Missing(f"`npm install` failed: {done.stderr.strip().splitlines()[-1:]}")
    return tools


class Pages:
    """Evidence, and the pages that cordon makes of it."""

    def __init__(self, cordon, work):
        self.cordon = cordon
        self.work = work
        self.key = work / "host.pem"
        self.ok("key", "generate", "--out", self.key)
        self.public = work / "host.pem.pub"
        settings = work / "config.toml"
        settings.write_text(f'[host]\nstate_dir = "{work}/state"\n')
        self.settings = settings
        self.evidence = work / "evidence"
        sealed = ("--seal", "--key", self.key, "--evidence", self.evidence)
        self.ok("--config", settings, "report", "sign", *(GOLDEN / name for name in NAMES[:2]), *sealed)

    def ok(self, *arguments):
        done = run(self.cordon, *arguments)
        if done.returncode != 0:
            sys.exit(f"`cordon {' '.join(map(str, arguments[:3]))}` failed: {done.stderr.strip()}")
        return done.stdout

    def page(self, name, *arguments):
        file = self.work / f"{name}.html"
        start = time.monotonic()
        self.ok("report", "html", *arguments, "--output", file)
        took = time.monotonic() - start
        print(f"      {name}: {took:.2f} s, {file.stat().st_size / 1024:.0f} KiB", flush=True)
        return file

    def of_report(self, name, report):
        file = self.work / f"{name}.json"
        file.write_text(json.dumps(report))
        return self.page(name, file)


def sample():
    return json.loads((GOLDEN / NAMES[0]).read_text())


def saying(words):
    """The sample, with these words wherever a job chooses them."""
    report = sample()
    report["job"]["command"] = words
    report["policy"]["name"] = words
    chain = {"pid": 1, "executables": [words, "/" + words], "events": 1}
    for denial in report["denials"]:
        denial["destination"]["names"] = [words]
        denial.update(reason=words, explanation=words, remedy=words, shownNames=[words], processes=[chain])
    for flow in report["flows"]:
        flow["destination"]["names"] = [words]
        flow["destination"]["protocol"] = words
        flow["processes"] = [chain]
    for name in report["dns"]:
        name.update(name=words, kind=words, remedy=words, processes=[chain])
    for rule in report["policy"]["rules"]:
        rule.update(text=words, origin=words, reason=words)
    for socket in report["sockets"]:
        socket.update(kind=words, processes=[chain])
    for incident in report["incidents"]:
        incident.update(about=words, processes=[chain])
    return report


def large(flows):
    """A report of so many flows, half as many denials, and a tenth as many names and rules."""
    report = sample()
    flow, denial, name, rule = (report["flows"][0], report["denials"][0], report["dns"][0], report["policy"]["rules"][0])

    def several(template, number, change):
        made = []
        for index in range(number):
            one = copy.deepcopy(template)
            change(one, index)
            made.append(one)
        return made

    def address(one, index):
        one["destination"]["address"] = f"10.{index >> 16 & 255}.{index >> 8 & 255}.{index & 255}"

    def to_name(one, index):
        address(one, index)
        one["destination"]["names"] = [f"host-{index}.example.com"]

    report["flows"] = several(flow, flows, to_name)
    report["denials"] = several(denial, flows // 2, to_name)
    report["dns"] = several(name, flows // 10, lambda one, index: one.update(name=f"host-{index}.example.com"))
    report["policy"]["rules"] += several(rule, flows // 10, lambda one, index: one.update(text=f"host host-{index}.example.com, tcp 443", used=False))
    return report


def plan(pages, tally):
    """All pages, and what must hold of them."""
    common = ["What this report can be trusted for", "Verify it yourself", "evil.example.org"]
    before = pages.work / "before.json"
    changed = sample()
    changed["flows"] = changed["flows"][:1]
    changed["denials"] = changed["denials"][1:]
    before.write_text(json.dumps(changed))
    digests = [hashlib.sha256((pages.evidence / name).read_bytes()).hexdigest() for name in NAMES]
    normal = pages.page("normal", pages.evidence, "--key", pages.public, "--baseline", before)
    ten = pages.of_report("flows-10", large(10))
    pages.of_report("flows-10000", large(10_000))
    huge = pages.of_report("flows-100000", large(100_000))
    tally.check("a page of 100,000 flows has less than 8 MiB", huge.stat().st_size < 8 << 20)
    hostile = [{"name": name, "file": str(pages.of_report(f"hostile-{index}", saying(words)))} for index, (name, words) in enumerate(HOSTILE.items())]
    worst = pages.of_report("hostile", saying("".join(HOSTILE.values())))
    return {
        "pages": [
            {"name": "normal", "file": str(normal), "words": [*common, "Signatures checked", "Changes since the baseline"], "acts": True, "digests": digests},
            {"name": "of the host", "file": str(pages.evidence / "report.html"), "words": [*common, "Made on the host"]},
            {"name": "10 flows", "file": str(ten), "words": ["Signatures not checked"], "acts": True},
            {"name": "hostile", "file": str(worst), "words": ["Signatures not checked"]},
            {
                "name": "100,000 flows",
                "file": str(huge),
                "words": ["49 500 more are in egress-report.json", "98 000 more, with fewer bytes"],
                "acts": True,
                "filter": {"word": "host-77.", "shown": 1},
            },
        ],
        "plain": str(pages.of_report("plain", saying("plain"))),
        "hostile": hostile,
    }


def check_in_browser(tally, pages, tools):
    program, base = browser(), packages(tools)
    file = pages.work / "plan.json"
    file.write_text(json.dumps(plan(pages, tally)))
    process = subprocess.Popen(["node", str(HERE / "check.js"), program, str(file)], cwd=base, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        result = json.loads(line)
        if "took" in result:
            print(f"      {result['took']}: opened in {result['milliseconds']} ms", flush=True)
        else:
            tally.check(result["name"], result["good"], result["detail"])
    tally.check("the browser came to its end", process.wait() == 0)


def check_commands(tally, pages):
    """The commands of the page do what it says, in the evidence directory."""
    text = (pages.evidence / "report.html").read_text()
    blocks = re.findall(r'<pre class="copy"[^>]*aria-label="([^"]*): commands"[^>]*>(.*?)</pre>', text, re.S)
    here = pages.work / "commands"
    shutil.copytree(pages.evidence, here)
    shutil.copy(pages.public, here / "report.pem.pub")
    (here / "bin").mkdir()
    (here / "bin/cordon").symlink_to(pages.cordon)
    environment = {**os.environ, "PATH": f"{here / 'bin'}:{os.environ['PATH']}"}
    ran = 0
    for title, commands in blocks:
        commands = commands.replace("&lt;", "<").replace("&gt;", ">").replace("&#39;", "'").replace("&quot;", '"').replace("&amp;", "&")
        program = commands.split()[0]
        wanted = [name for name in ("jq", "cosign", "openssl", "ssh-keygen") if name in commands]
        if missing := [name for name in wanted if not shutil.which(name)]:
            tally.skip(f"commands of the page: {title}", f"no {', '.join(missing)}")
            continue
        if "release.toml" in commands:
            continue
        done = run("bash", "-euc", commands, cwd=here, env=environment)
        tally.check(f"commands of the page: {title}", done.returncode == 0, f"{program}: {done.stderr.strip()[-300:]}")
        ran += 1
    tally.check("the page has commands", ran >= 2, f"{ran}")
    (here / "egress-report.json").write_text("{}")
    digests = next(commands for title, commands in blocks if "sha256sum" in commands)
    done = run("bash", "-euc", digests.replace("&lt;", "<").replace("&#39;", "'"), cwd=here)
    tally.check("commands of the page notice another report", done.returncode != 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cordon", type=Path, help="the binary")
    parser.add_argument("workdir", type=Path, help="for keys, evidence and pages; a subdirectory is emptied and used")
    parser.add_argument("--tools", type=Path, default=ROOT / "target/tools/pages", help="for what is fetched")
    parser.add_argument("--allow-missing", action="store_true", help="skip what cannot be had")
    options = parser.parse_args()

    work = options.workdir.resolve() / "pages"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    tally = Tally()
    pages = Pages(options.cordon.resolve(), work)
    check_commands(tally, pages)
    try:
        check_in_browser(tally, pages, options.tools.resolve())
    except Missing as missing:
        if options.allow_missing:
            tally.skip("pages in a browser", missing)
        else:
            tally.check("a browser and axe can be had", False, missing)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
