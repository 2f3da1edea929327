"""Docker: dockerd with the runtime as its default one, as contrib/docker/daemon.json installs it."""

import json
import shutil
import signal
import subprocess
from pathlib import Path

import same
from checks import Check
from lab import Daemon, Engine, image, remove, run

CONFIG = Path("/etc/docker/daemon.json")
LINK = Path("/usr/local/bin/runc")


class Docker(Engine):
    """dockerd and the containerd that it starts."""

    name = "docker"
    cli = "docker"
    # Added to the configuration.
    options = {}

    def __init__(self, runtime):
        super().__init__(runtime)
        self.environment["GPU_RUNTIME"] = runtime
        self.daemon = Daemon(
            ["dockerd"], ready=["docker", "version"], log="/tmp/dockerd.log", environment=self.environment
        )

    def start(self):
        config = json.loads(Path("/contrib/docker/daemon.json").read_text())
        config.update(self.options, **{"default-runtime": self.runtime})
        config["runtimes"]["gpu"] = {"path": "/tests/engines/gpu-runtime.py"}
        CONFIG.parent.mkdir(exist_ok=True)
        CONFIG.write_text(json.dumps(config))
        # For BuildKit. dockerd looks once, when it starts.
        if self.runtime != "runc":
            LINK.symlink_to(shutil.which(self.runtime))
        self.daemon.start()
        if "box" not in run("docker", "images", "--format", "{{.Repository}}"):
            run("docker", "import", "--change", 'CMD ["sh"]', image(), "box")

    def clean(self, patient=False):
        containers = run("docker", "ps", "-aq").split()
        if containers:
            remove(patient, "docker", "rm", "-f", *containers)
        # A swarm is there when its check failed.
        subprocess.run(["docker", "swarm", "leave", "--force"], capture_output=True)
        for kind in ("volume", "network"):
            run("docker", kind, "prune", "-f")

    def stop(self):
        self.daemon.stop()
        LINK.unlink(missing_ok=True)

    def restore(self):
        self.daemon.restart()

    def roots(self):
        return ["/run/docker/runtime-runc/moby", "/run/docker/runtime-teu/moby"]

    def bundles(self):
        return ["/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby"]


CHECKS = same.CHECKS + [
    # The process and its streams.
    Check("missing working directory is made", "docker run --rm -w /new/dir box pwd", "/new/dir"),
    # Looking at and into a container.
    Check(
        "exec with a terminal and with input",
        """
        docker run -d --name c1 box sleep 1000 >/dev/null
        with_tty docker exec -it c1 sh -c 'tty | grep -c /dev/pts'
        echo in | docker exec -i c1 cat
        """,
        "1\nin",
    ),
    Check(
        "exec: exit statuses of what cannot be started",
        """
        docker run -d --name c1 box sleep 1000 >/dev/null
        status_of docker exec c1 nothing
        status_of docker exec c1 /etc
        status_of docker exec -w /nothing c1 true
        docker kill c1 >/dev/null
        status_of docker exec c1 true
        """,
        matches="12[67]\n126\n12[67]\n1",
    ),
    Check(
        "exec --privileged, and exec of many at once",
        """
        docker run -d --name c1 box sleep 1000 >/dev/null
        docker exec --privileged c1 grep -c 'CapEff:.*ffffff' /proc/self/status
        for i in 1 2 3 4 5 6 7 8; do docker exec c1 echo x & done; wait
        """,
        "\n".join("1xxxxxxxx"),
    ),
    Check("top", "docker run -d --name c1 box sleep 1000 >/dev/null; docker top c1 -o pid,args | tr -s ' '", matches="PID COMMAND\n[0-9]+ sleep 1000"),
    Check(
        "pause and unpause",
        """
        docker run -d --name c1 box sh -c 'while :; do cat /proc/uptime > /now; sleep 0.05; done' >/dev/null
        docker pause c1 >/dev/null
        docker inspect -f '{{.State.Status}}' c1
        docker cp c1:/now /tmp/one; sleep 0.3; docker cp c1:/now /tmp/two; cmp /tmp/one /tmp/two && echo frozen
        refused docker exec c1 true
        docker unpause c1 >/dev/null
        docker inspect -f '{{.State.Status}}' c1
        sleep 0.3; docker cp c1:/now /tmp/one; cmp -s /tmp/one /tmp/two || echo thawed
        """,
        matches="paused\nfrozen\n.*is paused.*\nrunning\nthawed",
    ),
    # Ends.
    Check(
        "health check",
        """
        docker run -d --name c1 --health-cmd 'test -e /healthy' --health-interval 0.3s --health-retries 1 box sleep 1000 >/dev/null
        until_prints unhealthy docker inspect -f '{{.State.Health.Status}}' c1
        docker exec c1 touch /healthy
        until_prints healthy docker inspect -f '{{.State.Health.Status}}' c1
        """,
    ),
    # Networks.
    Check("network host", "docker run --rm --network host box ls /sys/class/net", matches="docker0"),
    Check(
        "a network of one's own, and names",
        """
        docker network create n >/dev/null
        docker run -d --name server --network n box httpd -f -h /etc >/dev/null
        docker run --rm --network n box sh -c 'for i in 1 2 3 4 5; do wget -q -O - http://server/group && exit; sleep 0.2; done'
        """,
        "root:x:0:",
    ),
    # Files.
    Check(
        "propagation: slave and shared",
        """
        mkdir -p /tmp/p; mount -t tmpfs p /tmp/p; mount --make-shared /tmp/p; mkdir /tmp/p/from-host /tmp/p/from-container
        docker run -d --name c1 -v /tmp/p:/slave:rslave -v /tmp/p:/shared:rshared --cap-add SYS_ADMIN box sleep 1000 >/dev/null
        mount -t tmpfs p /tmp/p/from-host; touch /tmp/p/from-host/file
        docker exec c1 ls /slave/from-host
        docker exec c1 mount -t tmpfs p /shared/from-container
        docker exec c1 touch /shared/from-container/other
        ls /tmp/p/from-container
        docker rm -f c1 >/dev/null; umount -R /tmp/p
        """,
        "file\nother",
    ),
    Check("tmpfs", "docker run --rm --tmpfs /t:size=1m,mode=1770,noexec box sh -c 'grep -w /t /proc/mounts; stat -c %a /t'", matches="tmpfs .*noexec.*size=1024k.*\n1770"),
    Check("shm size", "docker run --rm --shm-size 4m box sh -c 'df -k /dev/shm | tail -n 1'", matches="4096"),
    Check("masked and read-only paths", "docker run --rm box sh -c 'cat /proc/kcore | wc -c; ls /proc/acpi /sys/firmware 2>/dev/null | grep -v :; touch /proc/sys/x 2>&1'", matches="^0$", status=1),
    # Devices and privileges.
    Check(
        "devices: rights and refusal",
        """
        docker run --rm --device /dev/fuse:/dev/mine:r box sh -c ': < /dev/mine && echo opened; (: > /dev/mine) 2>&1 | grep -o "not permitted"'
        docker run --rm box sh -c 'mknod /d c 10 229; (: < /d) 2>&1 | grep -o "not permitted"'
        """,
        "opened\nnot permitted\nnot permitted",
    ),
    Check(
        "device rules",
        "docker run --rm --device-cgroup-rule 'c 1:* rwm' box sh -c 'mknod /d c 1 5 && head -c 3 /d | wc -c'",
        "3",
    ),
    Check(
        "privileged",
        "docker run --rm --privileged box sh -c 'ls /dev/fuse; mount -t tmpfs t /mnt; touch /mnt/x; grep CapEff /proc/self/status; grep Seccomp: /proc/self/status'",
        matches="/dev/fuse\nCapEff:\t0*[13]?f*e?f+\nSeccomp:\t0",
    ),
    Check("capabilities by default", "docker run --rm box grep Cap /proc/self/status", matches="CapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nCapAmb:\t0*$"),
    Check("no-new-privileges", "docker run --rm --security-opt no-new-privileges box grep NoNewPrivs /proc/self/status", matches="1$"),
    Check(
        "seccomp: Docker's profile, none, one's own",
        """
        docker run --rm --cap-add SYS_ADMIN --security-opt seccomp=unconfined box unshare -n true && echo let
        docker run --rm box grep Seccomp: /proc/self/status
        echo '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":95}]}' > /tmp/profile.json
        docker run --rm --security-opt seccomp=/tmp/profile.json box mkdir /d 2>&1 || true
        """,
        matches="let\nSeccomp:\t2\nmkdir.*not supported",
    ),
    # Limits.
    Check(
        "memory: limit and kill",
        """
        docker run --rm -m 64m --memory-reservation 32m box cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory/memory.soft_limit_in_bytes
        docker run --name c1 -m 16m --memory-swap 16m box sh -c 'x=$(dd if=/dev/zero bs=1M count=64 | tr "\\\\0" x)' >/dev/null 2>&1 || true
        docker inspect -f '{{.State.OOMKilled}}' c1
        """,
        "67108864\n33554432\ntrue",
        views=("hybrid",),
    ),
    Check(
        "processors",
        """docker run --rm --cpus 0.5 --cpuset-cpus 1 --cpu-shares 512 box sh -c '
            cd /sys/fs/cgroup; cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpu/cpu.shares cpuset/cpuset.cpus; nproc' """,
        "50000\n100000\n512\n1\n1",
        views=("hybrid",),
    ),
    Check("number of processes", "docker run --rm --pids-limit 3 box sh -c 'cat /sys/fs/cgroup/pids/pids.max; for i in 1 2 3 4; do sleep 1 & done' 2>&1 | sort", matches="3\n.*fork", views=("hybrid",)),
    Check(
        "update of a container that runs",
        """
        docker run -d --name c1 -m 64m box sleep 1000 >/dev/null
        docker update -m 32m --memory-swap -1 --cpus 0.25 --pids-limit 7 --cpu-shares 100 c1
        docker exec c1 sh -c 'cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us pids/pids.max cpu/cpu.shares'
        docker exec c1 sh -c 'echo > /dev/null'
        """,
        "c1\n33554432\n25000\n7\n100",
        views=("hybrid",),
    ),
    Check("ulimits", "docker run --rm --ulimit nofile=100:200 --ulimit core=0 box sh -c 'ulimit -n; ulimit -Hn; ulimit -c'", "100\n200\n0"),
    Check("sysctls", "docker run --rm --sysctl net.ipv4.ip_default_ttl=33 --sysctl kernel.msgmax=9000 box cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/msgmax", "33\n9000"),
    Check("oom score", "docker run --rm --oom-score-adj 500 box cat /proc/self/oom_score_adj", "500"),
    Check(
        "cgroup parent, and cgroup namespaces",
        """
        docker run --rm --cgroup-parent /mine --cgroupns host box cat /proc/self/cgroup | grep -c ':/mine/'
        docker run --rm --cgroupns private box sh -c 'cut -d: -f3 /proc/self/cgroup | sort -u'
        """,
        matches="^\\d+\n/$",
    ),
    # Sharing.
    Check("pid and uts of the host", "docker run --rm --pid host --uts host box sh -c 'cat /proc/1/comm; hostname'", "tini\nengines"),
    Check(
        "pid of the host: stop and remove",
        """
        docker run -d --name c1 --pid host box sh -c 'sleep 7777 & sleep 7777' >/dev/null
        docker rm -f c1
        ps -eo args | grep -cx 'sleep 7777' || true
        """,
        "c1\n0",
    ),
    # Building, and several containers at once.
    Check(
        "build",
        """
        mkdir -p /tmp/build; cd /tmp/build
        printf 'FROM box\\nRUN echo built > /file\\nUSER 1000\\nWORKDIR /w\\nCMD id -u; pwd; cat /file\\n' > Dockerfile
        DOCKER_BUILDKIT=0 docker build -q -t built . >/dev/null
        docker run --rm built; docker rmi -f built >/dev/null
        """,
        "1000\n/w\nbuilt",
    ),
    Check(
        "build with BuildKit, which takes the link runc",
        """
        mkdir -p /tmp/build; cd /tmp/build
        printf 'FROM box\\nRUN echo built > /file && ls /sys/class/net > /net\\nCMD cat /file /net\\n' > Dockerfile
        DOCKER_BUILDKIT=1 docker build -q --network none -t built . >/dev/null
        docker run --rm built; docker rmi -f built >/dev/null
        """,
        "built\nlo",
    ),
    Check(
        "compose",
        """
        mkdir -p /tmp/project; cd /tmp/project
        cat > docker-compose.yml <<'END'
version: "3"
services:
  server: {image: box, command: httpd -f -h /etc}
  client: {image: box, command: "sh -c 'until wget -q -O - http://server/group; do sleep 0.2; done'", depends_on: [server]}
END
        if command -v docker-compose >/dev/null; then compose=docker-compose; else compose='docker compose'; fi
        $compose up -d >/dev/null 2>&1
        until_ok sh -c "$compose logs client | grep root:x:0:"
        $compose logs client | grep -o root:x:0:
        $compose down -t 0 >/dev/null 2>&1
        docker ps -aq
        """,
        "root:x:0:",
    ),
    Check(
        "swarm of one: service, scale, remove",
        """
        docker swarm init --advertise-addr 127.0.0.1 >/dev/null
        docker service create --detach --name s1 --endpoint-mode dnsrr --restart-delay 100ms box sleep 1000 >/dev/null 2>&1
        until_prints 1/1 docker service ls --format '{{.Replicas}}'
        docker service scale --detach s1=3 >/dev/null
        until_prints 3/3 docker service ls --format '{{.Replicas}}'
        docker kill $(docker ps -q | head -n 1) >/dev/null; sleep 0.5
        until_prints 3/3 docker service ls --format '{{.Replicas}}'
        docker service rm s1
        docker swarm leave --force >/dev/null
        until_prints '' docker ps -q
        """,
        "s1",
    ),
    # The engine's own accidents.
    Check(
        "shim killed: container can be removed",
        """
        docker run -d --name c1 box sleep 1000 >/dev/null
        pid=$(docker inspect -f '{{.State.Pid}}' c1)
        kill -9 $(cut -d ' ' -f 4 /proc/$pid/stat)
        until_prints false docker inspect -f '{{.State.Running}}' c1
        docker start c1; docker rm -f c1
        """,
        "c1\nc1",
    ),
]


class Remapped(Docker):
    """dockerd whose containers have a user namespace, and live on without it."""

    name = "docker with userns-remap and live-restore"
    options = {"userns-remap": "default", "live-restore": True}


def dockerd_killed(docker):
    """A container does not notice, and can be handled afterwards."""
    docker.sh("""docker run -d --name c1 box sh -c 'trap "exit 3" TERM; while :; do sleep 0.1; done'""")
    pid = docker.sh("docker inspect -f '{{.State.Pid}}' c1")
    docker.daemon.stop(signal.SIGKILL)
    docker.daemon.start()
    same = docker.sh("docker inspect -f '{{.State.Pid}}' c1") == pid
    entered = docker.sh("docker exec c1 echo entered")
    status = docker.sh("docker stop c1 >/dev/null; docker wait c1")
    return "\n".join(["same" if same else "another", entered, status])


REMAPPED_CHECKS = [
    Check("root is another user outside", "docker run -d --name c1 box sleep 1000 >/dev/null; ps -o user:20= -p $(docker inspect -f '{{.State.Pid}}' c1); docker exec c1 id -u", matches="^[1-9][0-9]{4,}\n0"),
    Check("exec: user, terminal, device", "docker run -d --name c1 box sleep 1000 >/dev/null; docker exec -u 1000 c1 id -u; with_tty docker exec -it c1 sh -c 'tty | grep -c /dev/pts; echo > /dev/null && echo written'", "1000\n1\nwritten"),
    Check("volumes, tmpfs, published port", "docker run -d --name c1 -v data:/data --tmpfs /t -p 8080:80 box sh -c 'echo x > /data/file; echo y > /t/file; httpd -f -h /t' >/dev/null; until_ok busybox wget -q -O /dev/null http://127.0.0.1:8080/file; docker exec c1 cat /data/file /t/file", "x\ny"),
    Check("no right over the host: mount, sysctl, device", "docker run --rm --cap-add SYS_ADMIN box sh -c '(echo 1 > /proc/sys/kernel/msgmax) 2>/dev/null || echo refused; mknod /d c 1 3 2>/dev/null || echo refused'", "refused\nrefused"),
    Check("user namespace of the host on request", "docker run --rm --userns host box cat /proc/self/uid_map | tr -s ' '", matches="0 0 4294967295"),
    Check("dockerd killed and started anew: the container lives on", dockerd_killed, "same\nentered\n3"),
]
