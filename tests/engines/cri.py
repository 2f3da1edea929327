"""containerd as Kubernetes uses it: pods by the Container Runtime Interface, with the handler of contrib/kubernetes."""

import shutil
from pathlib import Path

from checks import Check
from containerd import Containerd
from lab import archive, run

CONFIG = Path("/tmp/cri.toml")
# What the laboratory lacks: a registry with the image of the pod's own process, and the right to lower OOM scores.
LAB = {
    2: """
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/library/pause:1"
  restrict_oom_score_adj = true
""",
    3: """
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "docker.io/library/pause:1"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
""",
}


class Cri(Containerd):
    """The same containerd, with the part that a kubelet talks to."""

    name = "containerd by CRI"

    def __init__(self, runtime):
        super().__init__(runtime)
        self.environment["KUBELET"] = "python3 /tests/engines/kubelet.py"
        CONFIG.write_text(Path(self.environment["CONFIG"]).read_text() + LAB[self.version])
        self.daemon.command = ["containerd", "--config", str(CONFIG)]

    def start(self):
        self.daemon.start()
        for path in (archive(), archive("pause", ("sleep", "1000000"))):
            run("ctr", "--namespace", "k8s.io", "images", "import", path)

    def clean(self, patient=False):
        run("python3", "/tests/engines/kubelet.py", "rmall")
        shutil.rmtree("/tmp/pods", ignore_errors=True)

    def roots(self):
        return ["/run/containerd/runc/k8s.io"]

    def bundles(self):
        return ["/run/containerd/io.containerd.runtime.v2.task/k8s.io"]


# A pod always has a weight for processors.
PODS = "{ [ -d /sys/fs/cgroup/cpu ] || grep -qw cpu /sys/fs/cgroup/cgroup.controllers; }"
NEWER = "containerd --version | grep -q ' 2[.]'"

# A pod, and functions for what is done in it.
POD = """
pod=$($KUBELET runp $RUNTIME p1)
run() { c=$($KUBELET create $pod "$@"); $KUBELET start $c; }
ended() { until_ok sh -c "$KUBELET state $c | grep exited"; $KUBELET state $c; }
logged() { cut -d ' ' -f 4- /tmp/pods/$1.log; }
"""
WAITING = POD + "run c1 -- sleep 1000\n"

CHECKS = [
    Check(
        "a pod is made by the handler that is named, and by no other",
        POD + "ls /run/containerd/runc/k8s.io/$pod | grep state; refused $KUBELET runp nothing p2",
        matches="^state.json\n.*no runtime for .nothing. is configured",
    ),
    Check("features: what a kubelet asks a runtime for", "$KUBELET features $RUNTIME", '{"rro": true, "userns": true}', needs=NEWER),
    Check(
        "run: output, exit status, state",
        POD
        + """
        run c1 -- sh -c 'echo out; until test -e /over; do sleep 0.1; done; exit 7'; $KUBELET state $c
        $KUBELET exec $c touch /over; ended; logged c1
        """,
        matches="^running 0 *\nexited 7 Error\nout$",
    ),
    Check("missing program: the error of StartContainer", POD + "refused run c1 -- nothing", matches='executable file not found in \\$PATH'),
    Check(
        "exec: output, exit status, missing program",
        WAITING
        + """
        $KUBELET exec $c sh -c 'echo inside; exit 5' || echo $?
        refused $KUBELET exec $c nothing
        """,
        matches="^inside\n5\n(.|\n)*executable file not found",
    ),
    Check("stop and remove", WAITING + "$KUBELET stop $c; $KUBELET state $c; $KUBELET rm $c; $KUBELET stopp $pod; $KUBELET rmp $pod; ls /run/containerd/runc/k8s.io", "exited 137 Error"),
    Check(
        "two containers of a pod share processes, ipc and host name",
        """
        pod=$($KUBELET runp $RUNTIME p1 pid=pod)
        a=$($KUBELET create $pod c1 pid=pod -- sleep 1001); $KUBELET start $a
        b=$($KUBELET create $pod c2 pid=pod -- sleep 1002); $KUBELET start $b
        $KUBELET exec $b ps -o args | grep -c '^sleep 100[12]'
        for kind in ipc uts net pid; do
            [ "$($KUBELET exec $a readlink /proc/self/ns/$kind)" = "$($KUBELET exec $b readlink /proc/self/ns/$kind)" ] && echo $kind
        done
        """,
        "2\nipc\nuts\nnet\npid",
    ),
    Check("the network of the node", POD + "run c1 -- readlink /proc/self/ns/net; ended >/dev/null; logged c1 | grep -cF \"$(readlink /proc/self/ns/net)\"", "1"),
    Check(
        "user, capability, filter, read-only root",
        POD
        + """
        run c1 user=1000 seccomp=default readonly=yes cap=NET_RAW -- sh -c '
            id -u; grep -E "CapBnd|Seccomp:" /proc/self/status; touch /x 2>/dev/null || echo read-only'
        ended >/dev/null; logged c1
        """,
        "1000\nCapBnd:\t0000000000002000\nSeccomp:\t2\nread-only",
    ),
    Check(
        "recursively read-only mount",
        POD
        + """
        mkdir -p /tmp/r; mountpoint -q /tmp/r || mount -t tmpfs r /tmp/r; mkdir -p /tmp/r/below; mount -t tmpfs below /tmp/r/below
        run c1 mount=/tmp/r:/mnt:rro -- sh -c 'touch /mnt/below/x 2>/dev/null || echo read-only'
        ended >/dev/null; logged c1; $KUBELET rmp $pod; umount -R /tmp/r
        """,
        "read-only",
        needs=NEWER,
    ),
    Check(
        "memory: limit, and another one while it runs",
        POD
        + """
        run c1 memory=67108864 -- sleep 1000
        $KUBELET exec $c cat /sys/fs/cgroup/memory/memory.limit_in_bytes
        $KUBELET update $c 33554432; $KUBELET exec $c cat /sys/fs/cgroup/memory/memory.limit_in_bytes
        """,
        "67108864\n33554432",
        views=("hybrid",),
    ),
    Check("twenty pods, one after the other", "for i in $(seq 20); do pod=$($KUBELET runp $RUNTIME p$i); $KUBELET rmp $pod || exit; done", "", long=True),
]

# All but what containerd has found out need a pod.
for check in CHECKS:
    if "features" not in check.title:
        check.needs = PODS + (f" && {check.needs}" if check.needs else "")
