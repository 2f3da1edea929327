"""Engines that are killed in the middle of what they do. Afterwards everything can be removed, and nothing is left."""

import itertools
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

from checks import Check, Failed

# Each container has a name of its own: podman keeps some names of those whose creation was interrupted.
NUMBERS = itertools.count()

# When the engine is killed.
MOMENTS = random.Random(1)

# Programs that are killed along with the engine every other time. This is a pid namespace of its own.
HELPERS = ("containerd", "containerd-shim", "conmon", "teu", "runc")


def killed(engine, rounds, prepare, command, kill):
    """Starts `command` `rounds` times, kills the engine at a random moment of it, and cleans up.

    `prepare` are the commands before it; `kill` ends the engine while `client` runs the command."""
    engine.environment["NAME"] = "first"
    engine.sh(prepare)
    start = time.monotonic()
    subprocess.run(command, shell=True, capture_output=True, env=engine.environment)
    duration = time.monotonic() - start
    engine.clean()
    known = engine.settled([])
    for turn in range(rounds):
        engine.environment["NAME"] = f"n{next(NUMBERS)}"
        engine.sh(prepare)
        client = subprocess.Popen(
            command, shell=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=engine.environment
        )
        moment = MOMENTS.random() * duration
        time.sleep(moment)
        kill(client)
        if turn % 2:
            for name in HELPERS:
                subprocess.run(["pkill", "-KILL", "-x", name], check=False)
        client.wait(30)
        left = cleaned(engine, known)
        if left:
            raise Failed(f"round {turn}, killed after {moment:.3f} s of {duration:.3f} s, left:\n" + "\n".join(left))
    return f"{rounds} times"


def cleaned(engine, known):
    """What is left when the engine was started again and has removed what it knows of, and the runtime the rest.

    An engine forgets containers for which it had not written down yet that they exist, and podman those whose conmon was
    killed. The runtime must be able to remove what it has made all the same."""
    engine.restore()
    engine.clean(patient=True)
    if not engine.settled(known, 5):
        return []
    for root in engine.roots():
        for state in Path(root).glob("[!.]*"):
            subprocess.run([engine.runtime, "--root", root, "delete", "--force", state.name], capture_output=True)
    engine.restore()
    engine.clean(patient=True)
    left = engine.settled(known)
    # The bundles of containers that were never created are the engine's, which leaves some behind. When they are all
    # there is, no mount is below them.
    bundles = [path for directory in engine.bundles() for path in Path(directory).glob("*")]
    if all(line in {f"state {path}" for path in bundles} for line in left):
        for path in bundles:
            shutil.rmtree(path)
        return []
    return left


def daemon_killed(prepare, command, rounds):
    """A check in which the engine's daemon is killed."""

    def commands(engine):
        def kill(_client):
            engine.daemon.stop(signal.SIGKILL)

        return killed(engine, rounds, prepare, command, kill)

    return commands


def client_killed(prepare, command, rounds):
    """A check of an engine without a daemon: the command itself is killed."""

    def commands(engine):
        def kill(client):
            subprocess.run(["pkill", "-KILL", "-x", "podman"], check=False)
            client.kill()

        return killed(engine, rounds, prepare, command, kill)

    return commands


def checks(how, does):
    """A quick check and a thorough one for each thing that an engine does."""
    return [
        Check(
            f"killed {rounds} times while it does {what}",
            how(prepare, command, rounds),
            f"{rounds} times",
            long=rounds > 5,
        )
        for what, prepare, command in does
        for rounds in (4, 50)
    ]


# What is done, what comes before it, and the command. With an init that ends when it is told to.
DOCKER_DOES = [
    ("create and start", ":", "docker run --init -d --name $NAME box sleep 1000"),
    ("start", "docker create --init --name $NAME box sleep 1000", "docker start $NAME"),
    ("exec", "docker run --init -d --name $NAME box sleep 1000", "docker exec $NAME sh -c 'echo x; sleep 0.1'"),
]
CONTAINERD_DOES = [
    ("create and start", ":", "$RUN -d $BOX $NAME sleep 1000"),
    ("exec", "$RUN -d $BOX $NAME sleep 1000", "ctr tasks exec --exec-id e1 $NAME sh -c 'echo x; sleep 0.1'"),
]
PODMAN_DOES = [
    ("create and start", ":", "podman run -d --name $NAME box sleep 1000"),
    ("start", "podman create --name $NAME box sleep 1000", "podman start $NAME"),
    ("exec", "podman run -d --name $NAME box sleep 1000", "podman exec $NAME sh -c 'echo x; sleep 0.1'"),
]

DOCKER = checks(daemon_killed, DOCKER_DOES)
CONTAINERD = checks(daemon_killed, CONTAINERD_DOES)
PODMAN = checks(client_killed, PODMAN_DOES)
