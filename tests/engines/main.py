#!/usr/bin/env python3
"""Runs teu, and runc beside it, under container engines, and prints a table for each engine.

It expects to be in the laboratory of tests/env/engines.sh. The exit status is 1 when teu fails a check that runc passes,
or leaves something behind that runc does not.

usage: main.py [--quick] [--only TEXT] [--runtimes teu,runc] ENGINE...
"""

import argparse
import os
import sys
import time

import containerd
import docker
import kills
import patterns
import podman
from checks import Outcome, Table, outcome_of, shell
from lab import daemons

# What to test: the engine, and its checks.
ENGINES = {
    "docker": (docker.Docker, docker.CHECKS + patterns.DOCKER + kills.DOCKER),
    "docker-remapped": (docker.Remapped, docker.REMAPPED_CHECKS),
    "containerd": (containerd.Containerd, containerd.CHECKS + patterns.CONTAINERD + kills.CONTAINERD),
    "podman": (podman.Podman, podman.CHECKS + patterns.PODMAN + kills.PODMAN),
    "buildah": (podman.Buildah, podman.BUILDAH_CHECKS),
}


def table_of(name, options):
    engine_class, checks = ENGINES[name]
    table = Table(engine_class.name)
    for runtime in options.runtimes:
        engine = engine_class(runtime)
        engine.start()
        known = engine.settled([], 1)
        try:
            for check in checks:
                if check.needs and wanted(check, options) and shell(check.needs, engine.environment)[0]:
                    note(table, check.title, runtime, Outcome(None, 0, f"this fails: {check.needs}"))
                elif wanted(check, options):
                    outcome = outcome_of(check, engine)
                    engine.clean()
                    left = engine.settled(known)
                    if left and outcome.passed:
                        outcome = Outcome(False, outcome.seconds, "left behind:\n" + "\n".join(left))
                    known += left
                    note(table, check.title, runtime, outcome)
        finally:
            engine.stop()
        start = time.monotonic()
        left = list(daemons())
        note(table, "no process is left", runtime, Outcome(not left, time.monotonic() - start, "\n".join(left)))
    return table


def wanted(check, options):
    return (
        os.environ["LAB_VIEW"] in check.views
        and not (options.quick and check.long)
        and (not options.only or options.only in check.title)
    )


def note(table, title, runtime, outcome):
    table.add(title, runtime, outcome)
    if not outcome.passed:
        word = "skipped" if outcome.passed is None else "FAILED"
        print(f"{table.engine} with {runtime}: {title}: {word}\n    " + outcome.report.replace("\n", "\n    "), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="leave out what takes long")
    parser.add_argument("--only", metavar="TEXT", help="checks whose title contains TEXT")
    parser.add_argument("--runtimes", type=lambda text: text.split(","), default=["teu", "runc"])
    parser.add_argument("engines", nargs="*", metavar="ENGINE", default=list(ENGINES))
    options = parser.parse_args()

    start = time.monotonic()
    tables = [table_of(name, options) for name in options.engines]
    ours = []
    for table in tables:
        table.print(options.runtimes)
        ours += [f"{table.engine}: {title}" for title in table.ours("teu", "runc")]
    print(f"\n{time.monotonic() - start:.0f} s; " + ("teu fails where runc does not:" if ours else "teu fails nothing that runc does not"))
    for title in ours:
        print(f"    {title}")
    sys.exit(1 if ours else 0)


if __name__ == "__main__":
    main()
