#!/usr/bin/env python3
"""Runs teu, and runc beside it, under container engines, and prints a table for each engine.

It expects to be in the laboratory of tests/env/engines.sh. The exit status is 1 when teu fails a check that runc passes,
or leaves something behind that runc does not.

usage: main.py [--quick] [--only TEXT] [--runtimes teu,runc] ENGINE...
"""

import argparse
import importlib
import os
import sys
import time

from checks import Outcome, Table, outcome_of

# What to test: module, class of the engine, list of checks.
ENGINES = {
    "docker": ("docker", "Docker", "CHECKS"),
    "docker-remapped": ("docker", "Remapped", "REMAPPED_CHECKS"),
    "containerd": ("containerd", "Containerd", "CHECKS"),
}


def table_of(name, options):
    module, engine_class, checks = ENGINES[name]
    module = importlib.import_module(module)
    table = Table(getattr(module, engine_class).name)
    for runtime in options.runtimes:
        engine = getattr(module, engine_class)(runtime)
        engine.start()
        try:
            for check in getattr(module, checks):
                if wanted(check, options):
                    note(table, check.title, runtime, outcome_of(check, engine))
                    engine.clean()
        finally:
            engine.stop()
        start = time.monotonic()
        left = engine.left_behind()
        note(table, "nothing is left behind", runtime, Outcome(not left, time.monotonic() - start, "\n".join(left)))
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
        print(f"{table.engine} with {runtime}: {title}: FAILED\n    " + outcome.report.replace("\n", "\n    "), flush=True)


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
