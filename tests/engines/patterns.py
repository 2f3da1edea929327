"""Two ways in which containers are used a lot: the development container, and the GPU container, here without a GPU."""

import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from checks import Check, Failed

# What the GPU's libraries and devices are here: the number is that of /dev/fuse, which containers may not open by
# themselves.
LIBRARY = Path("/tmp/gpu/libgpu.so")
DEVICE = Path("/dev/gpu0")
HOOK = "/tests/engines/gpu-hook.py"


def development(docker):
    """One container, 200 execs, eight at a time: with and without terminal, and with clients that are killed."""
    docker.sh("docker run -d --init --name c1 box tail -f /dev/null >/dev/null")

    def one(number):
        if number % 4 == 3:
            client = subprocess.Popen(["docker", "exec", "c1", "sleep", "4321"], stdout=subprocess.DEVNULL)
            time.sleep(0.3)
            client.send_signal(signal.SIGKILL)
            client.wait()
            return
        command = ["docker", "exec", "-e", f"N={number}", "-u", "1000:7", "-w", "/tmp"]
        words = 'echo "$N $(id -u) $(id -g) $(pwd)"; test -t 0 && tty | cut -c 1-9; exit 3'
        if number % 4 == 0:
            command = ["python3", "/tests/engines/terminal.py", *command, "-it", "c1", "sh", "-c", words]
            expected = f"{number} 1000 7 /tmp\n/dev/pts/\n"
        elif number % 4 == 1:
            command += ["-i", "c1", "cat"]
            expected = f"input {number}"
        else:
            command += ["c1", "sh", "-c", words]
            expected = f"{number} 1000 7 /tmp\n"
        status = 0 if number % 4 == 1 else 3
        text = f"input {number}" if number % 4 == 1 else ""
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
        # The client says this on the terminal when the program ends before it has told its size.
        output = done.stdout.replace("failed to resize tty, using default size\n", "")
        if (output, done.returncode) != (expected, status):
            raise Failed(f"exec {number}: {done.returncode} {done.stdout!r} {done.stderr!r}")

    with ThreadPoolExecutor(8) as pool:
        for result in [pool.submit(one, number) for number in range(200)]:
            result.result()
    # A killed client leaves its program, as Docker documents it; all else is gone.
    docker.sh("docker exec c1 killall -q sleep || true")
    time.sleep(0.5)
    init = docker.sh("docker inspect -f '{{.State.Pid}}' c1")
    shim = Path(f"/proc/{init}/stat").read_text().split()[3]
    descriptors = len(os.listdir(f"/proc/{shim}/fd"))
    if descriptors > 60:
        raise Failed(f"the shim has {descriptors} open files")
    return docker.sh("docker exec c1 echo alive; docker stop -t 1 c1 >/dev/null")


def gpu(command):
    """A check that has the files of a GPU, and its CDI description, when `command` runs."""

    def commands(engine):
        LIBRARY.parent.mkdir(exist_ok=True)
        LIBRARY.write_text("the library\n")
        if not DEVICE.exists():
            os.mknod(DEVICE, 0o20666, os.makedev(10, 229))
        cdi = Path("/etc/cdi/gpu.json")
        cdi.parent.mkdir(exist_ok=True)
        cdi.write_text(json.dumps(CDI))
        return engine.sh(command)

    return commands


# What a vendor's toolkit writes: a device, a library, a variable, and a hook that makes a link in the container.
CDI = {
    "cdiVersion": "0.3.0",
    "kind": "example.com/gpu",
    "devices": [{"name": "first", "containerEdits": {"deviceNodes": [{"path": str(DEVICE)}]}}],
    "containerEdits": {
        "env": ["GPU=on"],
        "mounts": [
            {
                "hostPath": str(LIBRARY),
                "containerPath": "/usr/lib/libgpu.so.1",
                "options": ["ro", "nosuid", "nodev", "bind"],
            }
        ],
        "hooks": [{"hookName": "createContainer", "path": HOOK, "args": ["gpu-hook", "link"]}],
    },
}

# What a program sees of it: the device works, the library is there under both names, and the program that the hook ran
# in the tree has left its mark.
LOOK = "sh -c ': < /dev/gpu0 && echo opened; cat /usr/lib/libgpu.so; echo $GPU; ls /etc/ld.so.cache; touch /usr/lib/libgpu.so.1 2>/dev/null || echo read-only'"
SEEN = "opened\nthe library\non\n/etc/ld.so.cache\nread-only"

DOCKER = [
    Check("development container: 200 execs, killed clients", development, "alive", long=True),
    Check(
        "GPU by a runtime that rewrites config.json and calls ours",
        gpu(f"docker run --rm --runtime gpu box {LOOK}"),
        SEEN,
    ),
    Check(
        "GPU by CDI",
        gpu(f"docker run --rm --device example.com/gpu=first box {LOOK}"),
        SEEN,
        needs="docker info --format '{{json .}}' | grep -q CDISpecDirs",
    ),
]
CONTAINERD = [
    Check(
        "GPU by CDI",
        gpu(f"$RUN --rm --device example.com/gpu=first $BOX c1 {LOOK}"),
        SEEN,
        needs="ctr --version | grep -qv ' 1[.]6'",
    )
]
PODMAN = [Check("GPU by CDI", gpu(f"podman run --rm --device example.com/gpu=first box {LOOK}"), SEEN)]
