"""What a check is, how one is carried out, and what is said about it.

A check is a title, a few shell commands as a user would type them, and what they print. For what a shell says badly there
is a function instead, which gets the engine and returns the output. Each is carried out twice, with
teu and with runc as the engine's runtime: what fails with both is the engine's, or the machine's, and not ours.
"""

import difflib
import os
import re
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field

# What the commands of every check may use.
PRELUDE = """
set -eu
# Repeats a command until it succeeds.
until_ok() { for _ in $(seq 100); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done; "$@"; }
# Repeats a command until it prints TEXT.
until_prints() { text=$1; shift; for _ in $(seq 100); do [ "$("$@" 2>&1)" = "$text" ] && return; sleep 0.1; done; "$@"; return 1; }
# Runs a command with a terminal as its standard streams.
with_tty() { python3 /tests/engines/terminal.py "$@"; }
# Fails when a command succeeds, and prints what it says.
refused() { if "$@" 2>&1; then echo "succeeded: $*"; return 1; fi; }
# Prints the exit status of a command, which says nothing.
status_of() { "$@" >/dev/null 2>&1 && echo 0 || echo $?; }
"""


class Failed(Exception):
    """A check did not find what it expects; the text says what was found."""


@dataclass
class Check:
    """Commands and what they must lead to."""

    title: str
    commands: object
    # The exact output without the white space around it, or None when only `matches` says what is expected.
    prints: str | None = None
    # A regular expression that the output must match somewhere.
    matches: str | None = None
    status: int = 0
    # The check takes long, and is left out of a quick run.
    long: bool = False
    # Commands that fail where the engine cannot do it; the check is skipped then, and says so.
    needs: str = ""
    # Cgroup views it is made for.
    views: tuple = ("hybrid", "v2")
    timeout: int = 90


@dataclass
class Outcome:
    """What became of one check with one runtime."""

    # None when it was skipped.
    passed: bool | None
    seconds: float
    report: str = ""


@dataclass
class Table:
    """The outcomes of one engine: check title, then runtime."""

    engine: str
    rows: dict = field(default_factory=dict)

    def add(self, title, runtime, outcome):
        self.rows.setdefault(title, {})[runtime] = outcome

    def count(self, runtime):
        outcomes = [row[runtime] for row in self.rows.values() if runtime in row]
        skipped = sum(outcome.passed is None for outcome in outcomes)
        passed = sum(outcome.passed is True for outcome in outcomes)
        return f"{passed} of {len(outcomes) - skipped}" + (f", {skipped} skipped" if skipped else "")

    def print(self, runtimes):
        width = max((len(title) for title in self.rows), default=0)
        print(f"\n{self.engine:<{width}}  " + "  ".join(f"{name:<12}" for name in runtimes))
        for title, row in self.rows.items():
            cells = [cell(row.get(name)) for name in runtimes]
            print(f"{title:<{width}}  " + "  ".join(f"{text:<12}" for text in cells))
        print(f"{'passed':<{width}}  " + "  ".join(f"{self.count(name):<12}" for name in runtimes))

    def ours(self, runtime, peers):
        """The titles of what fails with `runtime` and not with each of `peers`."""
        return [
            title
            for title, row in self.rows.items()
            if runtime in row
            and row[runtime].passed is False
            and not all(peer in row and row[peer].passed is False for peer in peers)
        ]


def cell(outcome):
    if outcome is None:
        return "-"
    if outcome.passed is None:
        return "skipped"
    return f"{'ok' if outcome.passed else 'FAILED':<6} {outcome.seconds:4.1f}s"


def shell(commands, environment, timeout=90, prefix=()):
    """Exit status, output and errors of some commands. Errors: Failed when they take longer than `timeout` seconds.

    `prefix`: a command that runs the shell, such as one that becomes another user.
    """
    # Files, because what outlives the commands would keep pipes open.
    with tempfile.TemporaryFile("w+", errors="replace") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
        process = subprocess.Popen(
            [*prefix, "bash", "-c", PRELUDE + commands],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=environment,
            cwd="/tmp",
            start_new_session=True,
        )
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            status = None
        output, errors = (file.seek(0) or file.read().strip() for file in (out, err))
    if status is None:
        raise Failed(f"not done after {timeout} s; it printed:\n{output}\n{errors}")
    return status, output, errors


def carry_out(check, engine):
    """Runs the commands of a check and compares. Errors: Failed."""
    if callable(check.commands):
        status, output, errors = 0, check.commands(engine), ""
    else:
        status, output, errors = shell(check.commands, engine.environment, check.timeout, engine.prefix)
    if status != check.status:
        raise Failed(f"exit status {status}, not {check.status}; it printed:\n{output}\n{errors}")
    if check.prints is not None and output != check.prints.strip():
        difference = difflib.ndiff(check.prints.strip().splitlines(), output.splitlines())
        raise Failed("it printed (- expected, + found):\n" + "\n".join(difference) + "\n" + errors)
    if check.matches is not None and not re.search(check.matches, output, re.MULTILINE):
        raise Failed(f"nothing in the output matches {check.matches}:\n{output}\n{errors}")


def outcome_of(check, engine):
    start = time.monotonic()
    try:
        carry_out(check, engine)
        return Outcome(True, time.monotonic() - start)
    except Failed as failed:
        return Outcome(False, time.monotonic() - start, str(failed))
