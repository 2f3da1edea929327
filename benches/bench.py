#!/usr/bin/env python3
"""Measures container runtimes side by side and prints a table. It judges nothing: no number here is a gate.

The runtimes take turns within every round, so that a disturbance of the machine meets all of them alike; what is
compared are medians. Every command must succeed. A runtime that fails in a case drops out of it, with its message.

usage: bench.py [--rounds N] [--only TEXT] RUNTIME...      (the first one is what the ratios refer to)

Run it through `make bench`: it expects to be in tests/env/guard.sh, whose $WORK it fills, and which removes what a
failure leaves behind.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
WORK = Path(os.environ["WORK"])
ROOTFS = WORK / "rootfs"


class Failed(Exception):
    """A command did not do what it was started for; the text says which and why."""


def call(*command):
    """Runs a command to its end with nothing on its standard input and output. Errors: Failed.

    Messages go to a file: a container that outlives the command would keep a pipe open."""
    with open(WORK / "messages", "w+") as messages:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=messages)
        if done.returncode:
            messages.seek(0)
            last = messages.read().strip().splitlines()[-1:] or ["no message"]
            raise Failed(f"exit status {done.returncode}: {last[0]}")


class Runtime:
    """One runtime with a state directory and bundles of its own."""

    def __init__(self, path, number):
        self.path = Path(path).resolve()
        first = subprocess.run([self.path, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
        self.name = first.replace(" version", "")
        self.dir = WORK / str(number)
        self.dir.mkdir()
        self.ids = 0

    def command(self, *arguments):
        return [self.path, "--root", self.dir / "state", *arguments]

    def call(self, *arguments):
        call(*self.command(*arguments))

    def new_id(self):
        self.ids += 1
        return f"{WORK.name}-{self.dir.name}-{self.ids}"

    def bundle(self, name, config):
        """Writes a bundle with this config and the common root file system; returns its directory."""
        bundle = self.dir / name
        if not bundle.exists():
            bundle.mkdir()
            config = dict(config, root={"path": str(ROOTFS), "readonly": True})
            (bundle / "config.json").write_text(json.dumps(config))
        return bundle


def make_rootfs():
    """Makes the root file system that all bundles use: a static busybox, and the files that Docker binds."""
    for name in ["bin", "dev", "etc", "proc", "sys", "tmp"]:
        (ROOTFS / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), ROOTFS / "bin/busybox")
    for name in ["sh", "sleep", "true"]:
        (ROOTFS / "bin" / name).symlink_to("busybox")
    (WORK / "files").mkdir()
    for name in ["resolv.conf", "hostname", "hosts"]:
        (WORK / "files" / name).write_text("127.0.0.1 localhost\n")
        (ROOTFS / "etc" / name).touch()


def spec_config(runtime):
    """What `spec` of the first runtime writes, without a terminal; the same for all runtimes."""
    directory = WORK / "spec"
    directory.mkdir()
    call(runtime.path, "spec", "--bundle", directory)
    config = json.loads((directory / "config.json").read_text())
    config["process"]["terminal"] = False
    config["process"]["args"] = ["/bin/true"]
    return config


def docker_config():
    """What Docker 28 writes for `docker run`: 375 system calls in its profile, three architectures, masked paths.

    Without its empty `blockIO`: crun refuses that where cgroup v2 lacks the io controller."""
    config = json.loads((HERE / "docker.json").read_text())
    del config["linux"]["resources"]["blockIO"]
    for mount in config["mounts"]:
        if mount["type"] == "bind":
            mount["source"] = f"{WORK}{mount['source']}"
    return config


def waiting(config):
    """The config with a program that does not end by itself."""
    return dict(config, process=dict(config["process"], args=["/bin/sleep", "1000"]))


class Case:
    """What is measured: `once` runs it one time; `before` and `after` frame all rounds of one runtime."""

    def __init__(self, name, once, before=None, after=None):
        self.name, self.once = name, once
        self.before, self.after = before or (lambda runtime: None), after or (lambda runtime: None)


def cases(spec, docker):
    """All cases, in the order of the table."""

    def run(name, config):
        return lambda runtime: runtime.call("run", "--bundle", runtime.bundle(name, config), runtime.new_id())

    def life(runtime):
        bundle, container = runtime.bundle("waiting", waiting(spec)), runtime.new_id()
        runtime.call("create", "--bundle", bundle, container)
        runtime.call("start", container)
        runtime.call("delete", "--force", container)

    def start_one(runtime):
        runtime.live = runtime.new_id()
        runtime.call("run", "--detach", "--bundle", runtime.bundle("waiting", waiting(spec)), runtime.live)

    def stop_one(runtime):
        runtime.call("delete", "--force", runtime.live)

    masked = dict(spec, linux=dict(spec["linux"], maskedPaths=[f"/tmp/{number}" for number in range(256)]))
    for number in range(256):
        (ROOTFS / "tmp" / str(number)).mkdir()
    # The difference to the first row is what a profile costs when its program is in the cache.
    profiled = dict(spec, linux=dict(spec["linux"], seccomp=docker["linux"]["seccomp"]))
    return [
        Case("run, config of `spec`", run("spec", spec)),
        Case("run, the same with Docker's profile", run("profiled", profiled)),
        Case("run, config of Docker", run("docker", docker)),
        Case("run, 256 masked directories", run("masked", masked)),
        Case("create + start + delete --force", life),
        Case("state", lambda runtime: runtime.call("state", runtime.live), start_one, stop_one),
        Case("exec /bin/true", lambda runtime: runtime.call("exec", runtime.live, "/bin/true"), start_one, stop_one),
    ]


def measure(case, runtimes, rounds):
    """Returns the times of each runtime in milliseconds, or why it failed."""
    times, failures = {runtime: [] for runtime in runtimes}, {}

    def attempt(runtime, action):
        """Does one step of a runtime that has not failed yet."""
        if runtime in failures:
            return
        try:
            action(runtime)
        except Failed as failure:
            failures[runtime] = str(failure)

    def timed(runtime):
        begin = time.monotonic()
        case.once(runtime)
        times[runtime].append((time.monotonic() - begin) * 1000)

    started = []
    for runtime in runtimes:
        attempt(runtime, case.before)
        if runtime not in failures:
            started.append(runtime)
        attempt(runtime, case.once)  # fills caches, not counted
    for number in range(rounds):
        turn = number % len(runtimes)
        for runtime in runtimes[turn:] + runtimes[:turn]:
            attempt(runtime, timed)
    for runtime in started:
        failed_before = failures.pop(runtime, None)
        attempt(runtime, case.after)
        if failed_before:
            failures[runtime] = failed_before
    return times, failures


def system_calls(runtime, bundle):
    """The number of system calls of one run, of all its processes."""
    report = runtime.dir / "strace"
    call("strace", "-f", "-c", "-o", report, *runtime.command("run", "--bundle", bundle, runtime.new_id()))
    total = [line.split() for line in report.read_text().splitlines() if line.endswith(" total")]
    return int(total[-1][3])


def peak_memory(runtime, bundle):
    """The largest resident set of any process of one run, in KiB. `time` forks it from a small process: a child
    starts with the size of its parent."""
    report = runtime.dir / "time"
    call("time", "-f", "%M", "-o", report, *runtime.command("run", "--bundle", bundle, runtime.new_id()))
    return int(report.read_text().splitlines()[-1])


def smallest_limit(runtime, config):
    """The smallest `memory.limit`, without swap, with which /bin/true runs five times of five, in KiB and to 16 KiB
    exact. Errors: Failed, with what is in the way of a generous limit, such as a view without the controller."""
    def run(limit):
        memory = {"limit": limit << 10, "swap": limit << 10}
        limited = dict(config, linux=dict(config["linux"], resources={"memory": memory}))
        for _ in range(5):
            runtime.call("run", "--bundle", runtime.bundle(f"limit-{limit}", limited), runtime.new_id())

    too_small, enough = 0, 64 << 10
    run(enough)
    while enough - too_small > 16:
        limit = (too_small + enough) // 32 * 16
        try:
            run(limit)
            enough = limit
        except Failed:
            too_small = limit
    return enough


def row(name, cells):
    print(f"{name:34}" + "".join(f"{cell:>22}" for cell in cells), flush=True)


def print_row(name, runtimes, values, form):
    """One line of the table: values with their ratio to the first runtime's."""
    base = values.get(runtimes[0])
    cells = []
    for runtime in runtimes:
        value = values.get(runtime)
        ratio = f" {value / base:6.2f}x" if value is not None and base else ""
        cells.append("failed" if value is None else format(value, form) + ratio)
    row(name, cells)


def find_runtimes(named):
    """The runtimes named, then those in PATH that are not the same program again."""
    paths = [Path(name).resolve() for name in named]
    paths += [Path(found).resolve() for found in map(shutil.which, ["crun", "runc"]) if found]
    return [Runtime(path, number) for number, path in enumerate(dict.fromkeys(paths))]


def that_can_run(runtimes, config):
    """Leaves out, and says so, a runtime that cannot run the simplest bundle on this machine."""
    able = []
    for runtime in runtimes:
        try:
            runtime.call("run", "--bundle", runtime.bundle("spec", config), runtime.new_id())
            able.append(runtime)
        except Failed as failure:
            print(f"left out: {runtime.name}: {failure}")
    return able


def compare(runtimes, rounds, only):
    """Measures every case and prints the table. Returns the exit status."""
    make_rootfs()
    spec, docker = spec_config(runtimes[0]), docker_config()
    runtimes = that_can_run(runtimes, spec)
    if not runtimes:
        return 1
    complaints = []

    print(f"medians of {rounds} rounds in milliseconds; ratios to {runtimes[0].name}")
    row("", [runtime.name for runtime in runtimes])
    for case in cases(spec, docker):
        if only not in case.name:
            continue
        times, failures = measure(case, runtimes, rounds)
        medians = {runtime: statistics.median(times[runtime]) for runtime in runtimes if runtime not in failures}
        print_row(case.name, runtimes, medians, ".2f")
        complaints += [f"{runtime.name}, {case.name}: {text}" for runtime, text in failures.items()]

    for name, count in [
        ("system calls of one run", lambda runtime: system_calls(runtime, runtime.bundle("spec", spec))),
        ("peak memory of one run, KiB", lambda runtime: peak_memory(runtime, runtime.bundle("spec", spec))),
        ("smallest memory.limit, KiB", lambda runtime: smallest_limit(runtime, spec)),
    ]:
        values = {}
        for runtime in runtimes:
            try:
                values[runtime] = count(runtime)
            except Failed as failure:
                complaints.append(f"{runtime.name}, {name}: {failure}")
        print_row(name, runtimes, values, "d")
    sizes = {runtime: runtime.path.stat().st_size // 1024 for runtime in runtimes}
    print_row("size of the program file, KiB", runtimes, sizes, "d")

    table = runtimes[0].dir / "strace"
    if table.exists():
        print(f"\nstrace -f -c of one run of {runtimes[0].name}, the twenty most frequent:")
        lines = table.read_text().splitlines()
        print(lines[0])
        by_calls = sorted((line for line in lines[2:] if line[:1].isspace() or line[:1].isdigit()),
                          key=lambda line: int(line.split()[3]), reverse=True)
        print("\n".join(by_calls[:21]))

    if complaints:
        print("\nfailures:\n  " + "\n  ".join(complaints))
    return 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    parser.add_argument("runtime", nargs="+")
    arguments = parser.parse_args()

    return compare(find_runtimes(arguments.runtime), arguments.rounds, arguments.only)


if __name__ == "__main__":
    sys.exit(main())
