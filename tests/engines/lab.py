"""What the engines have in common: the image, daemons, and the search for what was left behind."""

import hashlib
import io
import json
import os
import re
import signal
import subprocess
import tarfile
import time
from pathlib import Path

from checks import Failed, shell


def run(*command, environment=None):
    """The output of a command, which must succeed."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def image():
    """A root file system with busybox, as a tar file. There is no registry to get images from."""
    path = Path("/tmp/box.tar")
    if not path.exists():
        root = Path("/tmp/box")
        for directory in ("bin", "dev", "etc", "home", "mnt", "proc", "root", "sys", "tmp", "var/tmp"):
            (root / directory).mkdir(parents=True)
        (root / "tmp").chmod(0o1777)
        run("cp", "/bin/busybox", str(root / "bin"))
        for name in run("/bin/busybox", "--list").split():
            if name != "busybox":
                (root / "bin" / name).symlink_to("busybox")
        (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (root / "etc/group").write_text("root:x:0:\n")
        with tarfile.open(path, "w") as tar:
            tar.add(root, ".")
    return str(path)


def archive(name="box", command=("sh",)):
    """The same root file system as an archive of one image, box:1, in the format of `docker save`."""
    path = Path(f"/tmp/{name}-image.tar")
    if not path.exists():
        layer = Path(image())
        digest = hashlib.sha256(layer.read_bytes()).hexdigest()
        config = {
            "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64",
            "os": "linux",
            "config": {"Cmd": list(command), "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            "history": [{"created_by": "the tests"}],
        }
        manifest = [{"Config": "config.json", "RepoTags": [f"{name}:1"], "Layers": ["layer.tar"]}]
        with tarfile.open(path, "w") as tar:
            tar.add(layer, "layer.tar")
            for name, content in (("config.json", config), ("manifest.json", manifest)):
                data = json.dumps(content).encode()
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    return str(path)


def available_controllers():
    """The cgroup controllers that containers can have."""
    unified = Path("/sys/fs/cgroup/cgroup.controllers")
    if unified.exists():
        return unified.read_text().split()
    return [name for path in Path("/sys/fs/cgroup").iterdir() for name in path.name.split(",")]


def remove(patient, *command):
    """Removes containers. `patient`: tries again for a while, because they may be in use by what was interrupted."""
    for _ in range(50 if patient else 0):
        if subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0:
            return
        time.sleep(0.1)
    run(*command)


class Daemon:
    """A daemon of an engine: started in the background, ready when a command succeeds."""

    def __init__(self, command, ready, log, environment):
        self.command, self.ready, self.log, self.environment = command, ready, Path(log), environment
        self.process = None

    def start(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment
            )
        for _ in range(300):
            if self.process.poll() is not None:
                break
            if subprocess.run(self.ready, capture_output=True).returncode == 0:
                return
            time.sleep(0.1)
        raise RuntimeError(f"{self.command[0]} does not start:\n" + "\n".join(self.log.read_text().splitlines()[-20:]))

    def restart(self):
        if self.process.poll() is None:
            self.stop()
        # As a supervisor would: what was killed may take some seconds to be gone.
        for _ in range(3):
            try:
                return self.start()
            except RuntimeError as error:
                failed = error
        raise failed

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(60)


class Engine:
    """One engine with one runtime. `start`, `clean` and `stop` are the engine's own."""

    # Runs the commands of a check, when they are another user's.
    prefix = ()
    # The runtimes that teu is compared with.
    peers = ("runc",)
    # The command of a person, for checks that several engines have.
    cli = ""

    def __init__(self, runtime):
        self.runtime = runtime
        self.environment = dict(os.environ, RUNTIME=runtime, CLI=self.cli)

    def sh(self, commands):
        """The output of commands as in a check, which must succeed."""
        status, output, errors = shell(commands, self.environment, prefix=self.prefix)
        if status:
            raise Failed(f"exit status {status} of {commands}\n{output}\n{errors}")
        return output

    def roots(self):
        """State directories of the runtime, which must be empty, or absent, when no container is left."""
        return []

    def bundles(self):
        """Directories of the engine of which the same is true."""
        return []

    def restore(self):
        """Starts the engine again when it was killed, or is to look again at what there is."""

    def settled(self, known, tenths=30):
        """What is left behind, besides what is known, when the engine has had time: it cleans up in the background."""
        for _ in range(tenths):
            left = [line for line in self.left_behind() if line not in known]
            if not left:
                break
            time.sleep(0.1)
        return left

    def left_behind(self):
        """What containers of this engine left in the laboratory, which should be nothing."""
        left = [f"mount {line}" for line in Path("/proc/self/mountinfo").read_text().splitlines() if is_containers(line)]
        left += [f"cgroup {path}" for path in sorted(cgroups())]
        for state in self.roots() + self.bundles():
            left += [f"state {path}" for path in Path(state).glob("[!.]*")]
        return left


def is_containers(line):
    point = line.split()[4]
    return "/rootfs" in point or "/merged" in point or "/shm" in point and point != "/dev/shm"


def daemons():
    """The programs that run here, besides this one and its children."""
    for line in run("ps", "-eo", "pid,ppid,args").splitlines()[1:]:
        pid, parent, command = line.split(None, 2)
        if int(pid) not in (1, os.getpid()) and int(parent) != os.getpid():
            yield command


def cgroups():
    """The cgroups with the name of a container."""
    root = Path("/sys/fs/cgroup")
    for path in root.rglob("cgroup.procs"):
        directory = path.parent
        # A pod's own cgroup, which podman keeps, has no prefix.
        if re.fullmatch(r"(.*-)?[0-9a-f]{64}(\.scope)?", directory.name) and directory.parent.name != "libpod_parent":
            yield str(directory)
        elif re.match(r"libpod-|buildah-", directory.name):
            yield str(directory)
