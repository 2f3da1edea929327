"""podman as root, with the runtime of contrib/podman/containers.conf; and buildah, which shares its images."""

import subprocess
from pathlib import Path

import same
from checks import Check
from lab import Engine, image, remove, run

CONFIG = Path("/etc/containers/containers.conf")
# What podman takes from systemd where that is there, and limits that this machine may not let root set.
LAB = """
[containers]
log_driver = "k8s-file"
pids_limit = 0
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


class Podman(Engine):
    """podman has no daemon: it is started by being configured."""

    name = "podman"
    cli = "podman"

    def start(self):
        CONFIG.parent.mkdir(parents=True, exist_ok=True)
        config = Path("/contrib/podman/containers.conf").read_text()
        CONFIG.write_text(config.replace('runtime = "teu"', f'runtime = "{self.runtime}"'))
        drop_in = CONFIG.with_suffix(".conf.d") / "lab.conf"
        drop_in.parent.mkdir(exist_ok=True)
        drop_in.write_text(LAB)
        Path("/etc/containers/policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        self.environment["BUILDAH_RUNTIME"] = self.runtime
        if subprocess.run(["podman", "image", "exists", "box"]).returncode:
            run("podman", "import", "--change", "CMD=sh", "--change", "ENV=PATH=/bin", image(), "box")

    def clean(self, patient=False):
        remove(patient, "podman", "pod", "rm", "--all", "--force", "--time", "0")
        remove(patient, "podman", "rm", "--all", "--force", "--time", "0")
        for kind in ("volume", "network"):
            run("podman", kind, "prune", "--force")

    def stop(self):
        # A check that failed may have left one.
        subprocess.run(["umount", "-R", "/var/lib/containers/storage/overlay"], capture_output=True)

    def roots(self):
        return ["/run/teu", "/run/runc"]


CHECKS = same.CHECKS + [
    Check("info names the runtime", "podman info --format '{{.Host.OCIRuntime.Name}}' | grep -cx $RUNTIME", "1"),
    # The process and its streams.
    Check("its message is the runtime's", "podman run --rm box nothing 2>&1", matches="executable file", status=127),
    Check("a directory as the root file system", "podman run --rm --rootfs /tmp/box cat /etc/group", "root:x:0:"),
    # Looking at and into a container.
    Check(
        "exec with a terminal, with input, with open files",
        """
        podman run -d --name c1 box sleep 1000 >/dev/null
        with_tty podman exec -it c1 sh -c 'tty | grep -c /dev/pts'
        echo in | podman exec -i c1 cat
        echo third > /tmp/third; podman exec --preserve-fds 1 c1 sh -c 'cat <&3' 3< /tmp/third
        """,
        "1\nin\nthird",
    ),
    Check(
        "exec: exit statuses of what cannot be started",
        """
        podman run -d --name c1 box sleep 1000 >/dev/null
        status_of podman exec c1 nothing
        status_of podman exec c1 /etc
        status_of podman exec -w /nothing c1 true
        status_of with_tty podman exec -it -w /nothing c1 true
        podman kill c1 >/dev/null; podman wait c1 >/dev/null
        status_of podman exec c1 true
        """,
        matches="127\n126\n12[67]\n12[67]\n255",
    ),
    Check(
        "exec --privileged, detached, and of many at once",
        """
        podman run -d --name c1 box sleep 1000 >/dev/null
        podman exec -d c1 >/dev/null sh -c 'echo detached > /file'; until_ok podman exec c1 grep -q detached /file
        for i in 1 2 3 4 5 6 7 8; do podman exec c1 echo x & done; wait
        podman exec --privileged c1 grep -c 'CapEff:.*ffffff' /proc/self/status
        """,
        "\n".join("xxxxxxxx1"),
    ),
    Check("top", "podman run -d --name c1 box sleep 1000 >/dev/null; podman top c1 args capeff", matches="COMMAND +EFFECTIVE CAPS\nsleep 1000 .*CHOWN"),
    Check(
        "pause and unpause",
        """
        podman run -d --name c1 -v /tmp:/host box sh -c 'while :; do cat /proc/uptime > /host/now; sleep 0.05; done' >/dev/null
        until_ok test -s /tmp/now
        podman pause c1 >/dev/null; podman inspect -f '{{.State.Status}}' c1
        a=$(cat /tmp/now); sleep 0.3; [ "$a" = "$(cat /tmp/now)" ] && echo frozen
        refused podman exec c1 true >/dev/null
        podman unpause c1 >/dev/null; podman inspect -f '{{.State.Status}}' c1
        sleep 0.3; [ "$a" = "$(cat /tmp/now)" ] || echo thawed
        podman pause c1 >/dev/null; podman rm -f -t 0 c1 >/dev/null; podman ps -aq
        """,
        "paused\nfrozen\nrunning\nthawed",
    ),
    # Ends.
    Check("cleaned up by itself", "podman run -d --rm --name c1 box true >/dev/null; until_prints '' podman ps -aq"),
    Check("health check", "podman run -d --name c1 --health-cmd 'test -e /healthy' --health-interval disable box sleep 1000 >/dev/null; podman healthcheck run c1 >/dev/null || echo ill; podman exec c1 touch /healthy; podman healthcheck run c1 && echo well", matches="ill\n(.*\n)?well"),
    # Pods.
    Check(
        "pod: shared network, ipc and host name",
        """
        podman pod create --name p1 --hostname pod -p 8081:80 >/dev/null
        podman run -d --pod p1 --name c1 box httpd -f -h /etc >/dev/null
        podman run --rm --pod p1 box wget -q -O - http://127.0.0.1/group
        until_ok busybox wget -q -O /dev/null http://127.0.0.1:8081/group
        podman run --rm --pod p1 box hostname
        podman pod pause p1 >/dev/null; podman pod unpause p1 >/dev/null; podman pod top p1 args | grep -c httpd
        podman pod stop -t 0 p1 >/dev/null; podman pod start p1 >/dev/null; podman exec c1 echo again
        podman pod rm -f -t 0 p1 >/dev/null; podman ps -aq
        """,
        "root:x:0:\npod\n1\nagain",
    ),
    Check(
        "kube play and down",
        """
        cat > /tmp/pod.yaml <<'END'
apiVersion: v1
kind: Pod
metadata: {name: p2}
spec:
  containers:
  - name: main
    image: localhost/box:latest
    imagePullPolicy: Never
    command: [sh, -c, 'cat /data/file > /out/file; sleep 1000']
    securityContext: {runAsUser: 1000, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
    volumeMounts: [{name: data, mountPath: /data}, {name: out, mountPath: /out}]
  volumes:
  - name: data
    hostPath: {path: /tmp/kube}
  - name: out
    hostPath: {path: /tmp/kube-out}
END
        mkdir -p /tmp/kube /tmp/kube-out; chmod 777 /tmp/kube-out; echo kept > /tmp/kube/file
        podman play kube /tmp/pod.yaml >/dev/null
        until_ok grep kept /tmp/kube-out/file
        podman exec p2-main sh -c 'id -u; grep CapEff /proc/self/status'
        podman play kube --down /tmp/pod.yaml >/dev/null; podman ps -aq
        """,
        "1000\nCapEff:\t0000000000000000",
    ),
    # Networks.
    Check("network host", "podman run --rm --network host box readlink /proc/self/ns/net | grep -cF \"$(readlink /proc/self/ns/net)\"", "1"),
    # Files.
    Check("overlay volume, and an image as a volume", "mkdir -p /tmp/o; echo below > /tmp/o/f; podman run --rm -v /tmp/o:/o:O --mount type=image,source=box,destination=/i box sh -c 'echo above > /o/f; cat /o/f /i/etc/group'; cat /tmp/o/f", "above\nroot:x:0:\nbelow"),
    # Privileges and limits.
    Check("devices", "podman run --rm --device /dev/fuse:/dev/mine:r box sh -c ': < /dev/mine && echo opened; (: > /dev/mine) 2>&1 | grep -o \"not permitted\"'", "opened\nnot permitted"),
    Check("capabilities of another user", "podman run --rm --user 1000 --cap-add NET_ADMIN box grep -E 'CapEff|CapAmb' /proc/self/status", matches="CapEff:\t0000000000001000\nCapAmb:\t0000000000001000"),
    Check("no-new-privileges and seccomp", "podman run --rm --security-opt no-new-privileges box grep -E 'NoNewPrivs|Seccomp:' /proc/self/status; podman run --rm --security-opt seccomp=unconfined box grep Seccomp: /proc/self/status", "NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp:\t0"),
    Check("privileged", "podman run --rm --privileged box sh -c 'ls /dev/fuse; mount -t tmpfs t /mnt && echo mounted'", "/dev/fuse\nmounted"),
    Check("memory, processors, processes", "podman run --rm -m 64m --cpus 0.5 --pids-limit 9 box sh -c 'cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us pids/pids.max'", "67108864\n50000\n9", views=("hybrid",)),
    Check("update of a container that runs", "podman run -d --name c1 -m 64m box sleep 1000 >/dev/null; podman update -m 32m --cpus 0.25 c1 >/dev/null; podman exec c1 sh -c 'cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us'", "33554432\n25000", views=("hybrid",)),
    Check("killed for lack of memory", "status_of podman run --rm -m 16m --memory-swap 16m box sh -c 'x=$(dd if=/dev/zero bs=1M count=64 | tr \"\\\\0\" x)'", "137", views=("hybrid",)),
    Check("without cgroups", "podman run --rm --cgroups disabled box cat /proc/self/cgroup > /tmp/cgroup; grep -c libpod /tmp/cgroup || true", "0"),
    Check("ulimits and sysctls", "podman run --rm --ulimit nofile=100:200 --ulimit nproc=100:100 --sysctl net.ipv4.ip_default_ttl=33 box sh -c 'ulimit -n; ulimit -Hn; cat /proc/sys/net/ipv4/ip_default_ttl'", "100\n200\n33"),
    Check("user namespace", "podman run --rm --uidmap 0:100000:65536 --gidmap 0:100000:65536 box sh -c 'cat /proc/self/uid_map; stat -c %u /bin /proc; touch /x && echo written' | tr -s ' '", matches="0 100000 65536\n0\n.*\nwritten"),
    Check("user namespace: exec with a terminal", "podman run -d --name c1 --uidmap 0:100000:65536 --gidmap 0:100000:65536 box sleep 1000 >/dev/null; with_tty podman exec -it -u 1000 c1 sh -c 'id -u; tty | grep -c /dev/pts'", "1000\n1"),
    Check("pid of the host: everything ends", "podman run -d --name c1 --pid host box sh -c 'sleep 7777 & sleep 7777' >/dev/null; podman rm -f -t 0 c1 >/dev/null; ps -eo args | grep -cx 'sleep 7777' || true", "0"),
    Check("checkpoint is refused, and the container lives on", "podman run -d --name c1 box sleep 1000 >/dev/null; refused podman container checkpoint c1 >/dev/null; podman exec c1 echo alive", "alive"),
    Check("build", "mkdir -p /tmp/build; cd /tmp/build; printf 'FROM box\\nRUN echo built > /file\\nUSER 1000\\nRUN id -u > /tmp/id\\nCMD cat /file /tmp/id\\n' > Dockerfile; podman build -q -t built . >/dev/null; podman run --rm built; podman rmi -f built >/dev/null", "built\n1000"),
    # Accidents.
    Check(
        "conmon killed: podman forgets the container, the runtime removes it",
        """
        id=$(podman run -d --name c1 box sleep 1000)
        kill -9 $(cat $(podman inspect -f '{{.ConmonPidFile}}' c1)); sleep 0.2
        podman rm -f -t 0 c1 >/dev/null 2>&1; podman ps -aq
        $RUNTIME delete --force $id
        """,
        "",
    ),
]

# buildah works on a container w1, made of the image.
WORKING = "buildah from --name w1 localhost/box >/dev/null\n"
REMOVED = "\nbuildah rm w1 >/dev/null"

BUILDAH_CHECKS = [
    Check("run: output and exit status", WORKING + "buildah run w1 sh -c 'echo out; exit 7' 2>/dev/null || echo $?" + REMOVED, "out\n7"),
    Check("run: input", WORKING + "echo in | buildah run w1 cat" + REMOVED, "in"),
    Check("run: terminal", WORKING + "with_tty buildah run --tty w1 tty" + REMOVED, "/dev/pts/0"),
    Check("run: user, environment, directory, volume", WORKING + "mkdir -p /tmp/v; echo v > /tmp/v/f; buildah run --user 1000 --env A=b --workingdir /tmp -v /tmp/v:/v w1 sh -c 'id -u; echo $A; pwd; cat /v/f'" + REMOVED, "1000\nb\n/tmp\nv"),
    Check("run: missing program", WORKING + "refused buildah run w1 nothing" + REMOVED, matches="executable file"),
    Check("run: networks", WORKING + "buildah run --network none w1 ls /sys/class/net; buildah run --network host w1 readlink /proc/self/ns/net | grep -cF \"$(readlink /proc/self/ns/net)\"" + REMOVED, "lo\n1"),
    Check("run: capabilities", WORKING + "buildah run --cap-drop CAP_CHOWN --cap-add CAP_NET_ADMIN w1 grep CapEff /proc/self/status" + REMOVED, matches="CapEff:\t[0-9a-f]*1[0-9a-f]*[ace]$"),
    Check("run: what it changes is kept", WORKING + "buildah run w1 sh -c 'echo kept > /file'; buildah commit -q w1 kept >/dev/null; podman run --rm kept cat /file; podman rmi -f kept >/dev/null" + REMOVED, "kept"),
    Check("run: ended by a signal", WORKING + "timeout -s TERM 3 buildah run w1 sleep 1000 >/dev/null 2>&1 || echo ended; buildah rm w1 >/dev/null; sleep 0.3; ps -eo args | grep -cx 'sleep 1000' || true", "ended\n0"),
    Check(
        "bud: commands, user, directory, layers, failure",
        """
        mkdir -p /tmp/bud; cd /tmp/bud
        printf 'FROM localhost/box\\nRUN echo one > /file\\nUSER 1000\\nWORKDIR /tmp\\nRUN id -u > id; pwd >> id\\nRUN cat /file id\\n' > Dockerfile
        buildah bud --layers -t built . 2>&1 | grep -xE 'one|1000|/tmp'
        printf 'FROM localhost/box\\nRUN exit 9\\n' > Dockerfile
        status_of buildah bud -q -t failed .
        podman rmi -f built >/dev/null
        """,
        matches="one\n1000\n/tmp\n9$",
    ),
]


class Buildah(Podman):
    """buildah, which has containers of its own kind."""

    name = "buildah"

    def clean(self, patient=False):
        remove(patient, "buildah", "rm", "--all")
