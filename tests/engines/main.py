#!/usr/bin/env python3
"""Runs teu, and runc beside it, under container engines, and prints a table for each engine.

It expects to be in the laboratory of tests/env/engines.sh. The exit status is 1 when teu fails a check that runc passes,
or leaves something behind that runc does not.

usage: main.py [--quick] [--only TEXT] [--runtimes teu,runc] [--seed N] ENGINE...
"""

import argparse
import os
import sys
import time
from pathlib import Path

import containerd
import cri
import docker
import kills
import nested
import patterns
import podman
import rootless
from checks import Outcome, Table, outcome_of, shell
from lab import daemons

# What to test: the engine, and its checks.
ENGINES = {
    "docker": (docker.Docker, docker.CHECKS + patterns.DOCKER + nested.DOCKER + kills.DOCKER),
    "docker-remapped": (docker.Remapped, docker.REMAPPED_CHECKS),
    "containerd": (containerd.Containerd, containerd.CHECKS + patterns.CONTAINERD + kills.CONTAINERD),
    "cri": (cri.Cri, cri.CHECKS),
    "podman": (podman.Podman, podman.CHECKS + patterns.PODMAN + nested.PODMAN + kills.PODMAN),
    "buildah": (podman.Buildah, podman.BUILDAH_CHECKS),
    "podman-rootless": (rootless.PodmanRootless, rootless.CHECKS),
}


def table_of(name, options):
    """Makes the checks of one engine with each runtime."""
    engine_class, checks = ENGINES[name]
    table = Table(engine_class.name)
    chosen = [check for check in checks if wanted(check, options)]
    runtimes = options.runtimes or ["teu", *engine_class.peers]
    for runtime in runtimes:
        if table.rows:
            # Where time counts, what others do matters only if the first one fails.
            first = {title: row[runtimes[0]].passed for title, row in table.rows.items()}
            hurry = [check.title for check in chosen if options.quick or check.long]
            chosen = [check for check in chosen if check.title not in hurry or first[check.title] is False]
        if chosen:
            make(chosen, engine_class(runtime), table)
    table.print(runtimes)
    return table, runtimes[1:]


def wanted(check, options):
    return (
        os.environ["LAB_VIEW"] in check.views
        and not (options.quick and check.long)
        and (not options.only or options.only in check.title)
    )


def make(checks, engine, table):
    """Starts the engine, makes the checks, and looks after each, and at the end, for what is left behind."""
    hide_others(engine.runtime)
    engine.start()
    known = engine.settled([], 1)
    try:
        for check in checks:
            if check.needs and shell(check.needs, engine.environment, prefix=engine.prefix)[0]:
                note(table, check.title, engine.runtime, Outcome(None, 0, f"this fails: {check.needs}"))
                continue
            outcome = outcome_of(check, engine)
            try:
                engine.clean()
                left = engine.settled(known)
            except RuntimeError as error:
                left = [str(error)]
            if left and outcome.passed:
                outcome = Outcome(False, outcome.seconds, "left behind:\n" + "\n".join(left))
            known += left
            note(table, check.title, engine.runtime, outcome)
    finally:
        engine.stop()
    left = list(daemons())
    note(table, "no process is left", engine.runtime, Outcome(not left, 0, "\n".join(left)))


def hide_others(runtime):
    """Puts something that fails in the place of the other runtimes, for engines that forget what they were told."""
    hidden = Path("/usr/lib/hidden")
    hidden.mkdir(exist_ok=True)
    for name in ("runc", "crun"):
        for path in (Path("/usr/bin"), Path("/usr/sbin")):
            here, there = path / name, hidden / (path.name + "-" + name)
            if name != runtime and here.is_file() and not path.is_symlink() and not os.path.lexists(there):
                here.rename(there)
                here.write_text(f"#!/bin/sh\necho '{name} was called, and not {runtime}' >&2\nexit 99\n")
                here.chmod(0o755)
            elif name == runtime and os.path.lexists(there):
                there.rename(here)


def note(table, title, runtime, outcome):
    table.add(title, runtime, outcome)
    if not outcome.passed:
        word = "skipped" if outcome.passed is None else "FAILED"
        print(f"{table.engine} with {runtime}: {title}: {word}\n    " + outcome.report.replace("\n", "\n    "), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="leave out what takes long, and runc where teu passes")
    parser.add_argument("--only", metavar="TEXT", help="checks whose title contains TEXT")
    parser.add_argument("--runtimes", type=lambda text: text.split(","))
    parser.add_argument("--seed", type=int, default=1, help="other moments at which the engines are killed")
    parser.add_argument("engines", nargs="*", metavar="ENGINE", default=list(ENGINES))
    options = parser.parse_args()

    kills.MOMENTS.seed(options.seed)
    start = time.monotonic()
    ours = []
    for table, peers in [table_of(name, options) for name in options.engines]:
        ours += [f"{table.engine}: {title}" for title in table.ours("teu", peers)]
    verdict = "teu fails where another runtime does not:" if ours else "teu fails nothing that every other runtime passes"
    print(f"\n{time.monotonic() - start:.0f} s; {verdict}")
    for title in ours:
        print(f"    {title}")
    sys.exit(1 if ours else 0)


if __name__ == "__main__":
    main()
