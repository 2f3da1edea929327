#!/usr/bin/env python3
"""The hooks of a GPU's toolkit. `prestart` runs outside, enters the container's mount namespace, whose root is not changed
yet, and adds the device and the library there. `link` runs inside and adds a link. Both run a program of the tree.

usage: gpu-hook prestart|link      (the state of the container is on the standard input)
"""

import json
import subprocess
import sys
from pathlib import Path

LIBRARY = "/tmp/gpu/libgpu.so"


def main():
    state = json.load(sys.stdin)
    bundle = Path(state["bundle"])
    config = json.loads((bundle / "config.json").read_text())
    root = bundle / config["root"]["path"]
    if sys.argv[1] == "prestart":
        assert state["pid"] > 0, state
        allow_device(state["pid"])
        enter = ["nsenter", f"--mount=/proc/{state['pid']}/ns/mnt", "--"]
        script = """
            set -e
            mkdir -p "$1/usr/lib"
            touch "$1/usr/lib/libgpu.so.1"
            mount --bind "$2" "$1/usr/lib/libgpu.so.1"
            mount -o remount,bind,ro,nosuid,nodev "$1/usr/lib/libgpu.so.1"
            [ -e "$1/dev/gpu0" ] || mknod -m 666 "$1/dev/gpu0" c 10 229
        """
        subprocess.run([*enter, "sh", "-c", script, "sh", str(root), LIBRARY], check=True)
    else:
        library = root / "usr/lib/libgpu.so"
        library.parent.mkdir(parents=True, exist_ok=True)
        library.symlink_to("libgpu.so.1")
        # As ldconfig: a program of the host's kind, with the tree as its root.
        subprocess.run(["/usr/sbin/chroot", str(root), "/bin/busybox", "touch", "/etc/ld.so.cache"], check=True, env={})


def allow_device(pid):
    """On version 1. On version 2 the rule is in config.json."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "devices" and Path("/sys/fs/cgroup/devices").exists():
            Path(f"/sys/fs/cgroup/devices{path}/devices.allow").write_text("c 10:229 rwm")


main()
