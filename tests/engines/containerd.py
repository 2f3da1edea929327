"""containerd, driven by ctr, with the shim io.containerd.runc.v2."""

import subprocess
from pathlib import Path

from checks import Check
from lab import Daemon, Engine, archive, available_controllers, remove, run


class Containerd(Engine):
    """A containerd of its own, with the configuration of contrib/containerd."""

    name = "containerd"

    def __init__(self, runtime):
        super().__init__(runtime)
        self.environment["BOX"] = "docker.io/library/box:1"
        self.environment["RUN"] = f"ctr run --runc-binary {runtime}"
        if "cpu" not in available_controllers():
            # Asked for with every container, whether one wants it or not.
            self.environment["RUN"] += " --cpu-shares 0"
        version = 3 if " 2." in run("containerd", "--version").replace(" v", " ") else 2
        config = f"/contrib/containerd/config-v{version}.toml"
        self.environment["CONFIG"] = config
        self.version = version
        self.daemon = Daemon(
            ["containerd", "--config", config],
            ready=["ctr", "version"],
            log="/tmp/containerd.log",
            environment=self.environment,
        )

    def start(self):
        self.daemon.start()
        run("ctr", "images", "import", archive())

    def clean(self, patient=False):
        for name in run("ctr", "containers", "ls", "-q").split():
            subprocess.run(["ctr", "tasks", "rm", "-f", name], capture_output=True)
            remove(patient, "ctr", "containers", "rm", name)

    def stop(self):
        self.daemon.stop()

    def restore(self):
        self.daemon.restart()

    def roots(self):
        return ["/run/containerd/runc/default"]

    def bundles(self):
        return ["/run/containerd/io.containerd.runtime.v2.task/default"]


def once(arguments):
    """A container that is gone when its program has ended."""
    return f"$RUN --rm {arguments}"


# A container that waits.
WAITING = "$RUN -d $BOX c1 sleep 1000\n"

# With some options ctr replaces the runtime's own, among them --runc-binary; containerd looks for runc in PATH then.
AS_RUNC = """
[ $RUNTIME = runc ] || ln -s "$(command -v $RUNTIME)" /usr/local/bin/runc
trap '[ $RUNTIME = runc ] || rm /usr/local/bin/runc' EXIT
"""

CHECKS = [
    Check("the configuration names teu", "containerd --config $CONFIG config dump | grep BinaryName.*teu", matches="BinaryName = ./usr/local/bin/teu."),
    Check("output and exit status", once("$BOX c1 sh -c 'echo out; exit 7'"), "out", status=7),
    Check("input", "echo hello | " + once("$BOX c1 sh -c 'read line; echo $line'"), "hello"),
    Check("terminal", "with_tty --size 33x99 " + once("-t $BOX c1 sh -c 'sleep 0.3; tty; stty size'"), "/dev/pts/0\n33 99"),
    Check("missing program", once("$BOX c1 nothing") + " 2>&1", matches='exec: "nothing": executable file not found in \\$PATH', status=1),
    Check("environment and directory", once("--env A=b --cwd /tmp $BOX c1 sh -c 'echo $A; pwd'"), "b\n/tmp"),
    Check("root file system given as a directory", once("--rootfs /tmp/box c1 /bin/cat /etc/group"), "root:x:0:"),
    Check(
        "exec: exit status, user, directory, terminal, missing program",
        WAITING
        + """
        ctr tasks exec --exec-id e1 --user 1000 --cwd /tmp c1 sh -c 'id -u; pwd; exit 5' || echo $?
        # ctr loses the output of what ends before it has set the size.
        with_tty ctr tasks exec --exec-id e2 -t c1 sh -c 'tty; sleep 0.5' | grep -c /dev/pts/
        refused ctr tasks exec --exec-id e3 c1 nothing
        ctr tasks exec --exec-id e4 -d c1 sleep 1000
        ctr tasks kill --exec-id e4 --signal 9 c1; ctr tasks ls | grep c1
        """,
        matches='^1000\n/tmp\n5\n1\n(.|\n)*executable file not found(.|\n)*RUNNING$',
    ),
    Check("ps", WAITING + "ctr tasks exec -d --exec-id e1 c1 sleep 1001; ctr tasks ps c1 | sed 1d | wc -l", "2"),
    Check(
        "pause and resume",
        """
        $RUN -d --mount type=bind,src=/tmp,dst=/host,options=rbind:rw $BOX c1 sh -c 'while :; do cat /proc/uptime > /host/now; sleep 0.05; done'
        until_ok test -e /tmp/now
        ctr tasks pause c1; ctr tasks ls | grep -o PAUSED
        a=$(cat /tmp/now); sleep 0.3; b=$(cat /tmp/now); [ "$a" = "$b" ] && echo frozen
        ctr tasks resume c1; ctr tasks ls | grep -o RUNNING
        sleep 0.3; [ "$b" = "$(cat /tmp/now)" ] || echo thawed
        """,
        "PAUSED\nfrozen\nRUNNING\nthawed",
    ),
    Check("killed while paused", WAITING + "ctr tasks pause c1; ctr tasks rm -f c1; ctr containers rm c1; ctr containers ls -q", ""),
    Check("metrics", WAITING + "ctr tasks metrics c1", matches="memory.usage_in_bytes +[1-9]", views=("hybrid",)),
    Check("metrics on version 2", WAITING + "ctr tasks metrics c1 | grep -c pids.current", matches="[01]", views=("v2",)),
    Check(
        "kill: numbers, names, everything",
        """
        $RUN -d $BOX c1 sh -c 'trap "exit 3" USR1; sleep 1000 & while :; do sleep 0.1; done'
        sleep 0.2; ctr tasks kill -s SIGUSR1 c1; until_ok sh -c "ctr tasks ls | grep STOPPED"
        ctr tasks rm c1 2>&1 | grep -o 'code [0-9]*'
        $RUN -d $BOX c2 sh -c 'sleep 1000 & sleep 1000'
        ctr tasks kill --all -s 9 c2; until_ok sh -c "ctr tasks ls | grep STOPPED"
        ctr tasks rm c2 2>&1 | grep -o 'code [0-9]*'
        """,
        "code 3\ncode 137",
    ),
    Check(
        "checkpoint is refused, and the container lives on",
        WAITING + "refused ctr containers checkpoint --task c1 copy >/dev/null; ctr tasks exec --exec-id e1 c1 echo alive",
        "alive",
    ),
    Check(
        "limits",
        """
        $RUN -d --memory-limit 67108864 --cpus 0.5 --cpu-shares 100 $BOX c1 sleep 1000
        cd /sys/fs/cgroup; cat memory/default/c1/memory.limit_in_bytes cpu/default/c1/cpu.cfs_quota_us cpu/default/c1/cpu.shares
        """,
        "67108864\n50000\n100",
        views=("hybrid",),
    ),
    Check("cgroup of one's own", "$RUN -d --cgroup /mine/deep $BOX c1 sleep 1000; cat /proc/$(ctr tasks ls | sed -n 's/^c1 *\\([0-9]*\\) .*/\\1/p')/cgroup", matches=":/mine/deep"),
    Check("privileged, with devices", once("--privileged --device /dev/fuse $BOX c1 sh -c 'ls /dev/fuse; mount -t tmpfs t /mnt && echo mounted'"), "/dev/fuse\nmounted"),
    Check("capabilities", once("--cap-drop CAP_CHOWN --cap-add CAP_NET_ADMIN $BOX c1 grep CapEff /proc/self/status"), matches="00000000a80435fa"),
    Check("read-only root and a bind mount", "mkdir -p /tmp/dir; echo x > /tmp/dir/file; " + once("--read-only --mount type=bind,src=/tmp/dir,dst=/mnt,options=rbind:ro $BOX c1 sh -c 'cat /mnt/file; touch /x 2>/dev/null || touch /mnt/x 2>/dev/null || echo no'"), "x\nno"),
    Check("network of the host", once("--net-host $BOX c1 ls /sys/class/net"), matches="^lo$"),
    Check("namespace of another process", WAITING + "pid=$(ctr tasks ls | sed -n 's/^c1 *\\([0-9]*\\) .*/\\1/p')\n" + once("--with-ns network:/proc/$pid/ns/net $BOX c2 readlink /proc/self/ns/net") + " | grep -cF $(readlink /proc/$pid/ns/net)", "1"),
    Check(
        "user namespace (ctr forgets --runc-binary)",
        AS_RUNC
        + """
        $RUN --rm --uidmap 0:100000:65536 --gidmap 0:100000:65536 $BOX c1 sh -c 'cat /proc/self/uid_map; stat -c %u /bin' | tr -s ' '
        """,
        matches="0 100000 65536\n0",
    ),
    Check("seccomp", once("--seccomp $BOX c1 grep Seccomp: /proc/self/status"), matches="2$"),
    Check(
        "no pivot_root (ctr forgets --runc-binary)",
        AS_RUNC + once("--no-pivot $BOX c1 cat /etc/group"),
        "root:x:0:",
    ),
    Check(
        "shim killed: everything can be removed",
        WAITING
        + """
        pid=$(ctr tasks ls | sed -n 's/^c1 *\\([0-9]*\\) .*/\\1/p')
        kill -9 $(cut -d ' ' -f 4 /proc/$pid/stat)
        until_ok sh -c '! ctr tasks ls | grep RUNNING'
        ctr tasks rm -f c1 2>/dev/null || true
        ctr containers rm c1
        [ ! -e /proc/$pid/cwd ] && echo dead
        """,
        "dead",
    ),
    Check("fifty containers, one after the other", "for i in $(seq 50); do " + once("$BOX n$i true") + " || exit; done", "", long=True),
]
