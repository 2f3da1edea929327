"""podman as an unprivileged user who has subordinate ids, no service manager, and on version 2 a cgroup of its own."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import podman
from checks import Check
from lab import Engine, image, is_containers, run

UID = 1000
HOME = Path("/home/user")
RUNTIME_DIRECTORY = Path(f"/run/user/{UID}")
# Where the user may make cgroups, as a login with systemd gives it away.
DELEGATED = Path(f"/sys/fs/cgroup/user-{UID}")
# What the user can call, each time in a session with a cgroup of its own and without any privilege of root.
AS_USER = f"""
if test -e {DELEGATED}; then
    session={DELEGATED}/session-$$
    mkdir $session
    chown {UID}:{UID} $session $session/cgroup.*
    echo $$ > $session/cgroup.procs
fi
exec setpriv --reuid {UID} --regid {UID} --init-groups --inh-caps=-all "$@"
"""
ACCOUNT = {
    "/etc/passwd": f"user:x:{UID}:{UID}::{HOME}:/bin/bash\n",
    "/etc/group": f"user:x:{UID}:\n",
    "/etc/subuid": "user:100000:65536\n",
    "/etc/subgid": "user:100000:65536\n",
}


def make_account():
    """The user, once, with a home on a file system that overlays can be made on."""
    if HOME.exists():
        return
    for path, line in ACCOUNT.items():
        with open(path, "a") as file:
            file.write(line)
    for directory in (HOME, RUNTIME_DIRECTORY):
        directory.mkdir(parents=True)
    run("mount", "-t", "tmpfs", "-o", f"mode=700,uid={UID},gid={UID}", "home", str(HOME))
    os.chown(RUNTIME_DIRECTORY, UID, UID)
    RUNTIME_DIRECTORY.chmod(0o700)
    if os.environ["LAB_VIEW"] == "v2":
        DELEGATED.mkdir()
        for name in ("", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"):
            os.chown(DELEGATED / name, UID, UID)


class PodmanRootless(Engine):
    """podman of a user."""

    name = "podman-rootless"
    cli = "podman"
    prefix = ("sh", "-ec", AS_USER, "sh")
    peers = ("runc", "crun")

    def __init__(self, runtime):
        super().__init__(runtime)
        self.environment.update(HOME=str(HOME), USER="user", XDG_RUNTIME_DIR=str(RUNTIME_DIRECTORY))

    def start(self):
        make_account()
        # What checks of root have left in /tmp a user cannot replace. The images are read only.
        for path in Path("/tmp").iterdir():
            if path.suffix != ".tar":
                run("rm", "-rf", "--one-file-system", str(path))
        config = HOME / ".config/containers"
        config.mkdir(parents=True, exist_ok=True)
        text = Path("/contrib/podman/containers.conf").read_text()
        text = text.replace('runtime = "teu"', f'runtime = "{self.runtime}"')
        # One file, in which a table may be there only once.
        lab = podman.LAB.replace("[engine]\n", "")
        (config / "containers.conf").write_text(lab[: lab.index("cgroup_manager")])
        drop_in = config / "containers.conf.d"
        drop_in.mkdir(exist_ok=True)
        (drop_in / "engine.conf").write_text(text)
        (drop_in / "lab.conf").write_text("[engine]\n" + lab[lab.index("cgroup_manager") :])
        (config / "storage.conf").write_text('[storage]\ndriver = "overlay"\n')
        (config / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        run("chown", "-R", f"{UID}:{UID}", str(HOME / ".config"))
        self.environment["BUILDAH_RUNTIME"] = self.runtime
        if self.call("podman", "image", "exists", "box").returncode:
            self.sh(f"podman import -q --change CMD=sh --change ENV=PATH=/bin {image()} box")

    def call(self, *command):
        """A command of the user, which may fail."""
        return subprocess.run(
            [*self.prefix, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self.environment,
            cwd="/tmp",
        )

    def clean(self, patient=False):
        self.sh("podman pod rm --all --force --time 0 && podman rm --all --force --time 0")
        for kind in ("volume", "network"):
            self.sh(f"podman {kind} prune --force")
        # What the checks have made for containers may belong to any of the user's ids.
        self.sh("cd /tmp; podman unshare rm -rf /tmp/user; mkdir /tmp/user")
        # Sessions that have ended.
        for directory in sorted(DELEGATED.glob("session-*/**/"), reverse=True):
            if "libpod" not in directory.name and not (directory / "cgroup.procs").read_text():
                subprocess.run(["rmdir", str(directory)], capture_output=True)

    def stop(self):
        # Ends the process that keeps the user namespace.
        self.call("podman", "system", "migrate")

    def roots(self):
        return [str(RUNTIME_DIRECTORY / name) for name in ("teu", "runc", "crun")]

    def left_behind(self):
        left = super().left_behind()
        mounts = self.call("podman", "unshare", "cat", "/proc/self/mountinfo").stdout
        left += [f"mount of the user {line}" for line in mounts.splitlines() if is_containers(line)]
        processes = run("ps", "-U", "user", "-o", "args=").splitlines() if HOME.exists() else []
        # podman keeps one process, which holds its user namespace.
        return left + [f"process {line}" for line in processes if not is_keeper(line)]


def is_keeper(command):
    return command in ("podman", "podman pause", "catatonit -P", "/usr/bin/catatonit -P")


# Checks of podman as root that say something about a user as well: all but these.
NOT_FOR_USERS = {
    "stats": "takes limits",
    "memory, processors, processes": "takes limits",
    "update of a container that runs": "takes limits",
    "killed for lack of memory": "takes limits",
    "a directory as the root file system": "the directory is root's",
    "devices": "the kernel's device rules are root's",
    "privileged": "a user has other devices",
    "without cgroups": "a check of its own, below",
    "user namespace": "checks of their own, below",
    "user namespace: exec with a terminal": "checks of their own, below",
    "conmon killed: podman forgets the container, the runtime removes it": "a check of its own, below",
    "network host": "a check of its own, below",
    "GPU by CDI": "needs a device of root",
}
# What takes a cgroup. Without a pid namespace it is the only way to reach all processes.
ON_VERSION_2 = {"pause and unpause", "pod: shared network, ipc and host name", "pid of the host: everything ends"}

OF_ROOT = [
    replace(check, views=("v2",)) if check.title in ON_VERSION_2 else check
    for check in podman.CHECKS
    if check.title not in NOT_FOR_USERS
]

CGROUP = "podman inspect -f '{{.HostConfig.Cgroups}}' c1"

OWN = [
    Check("the caller is no root", "podman info --format '{{.Host.Security.Rootless}}'; id -u", "true\n1000"),
    Check("ids: the user is root inside, and another one has a subordinate id", "mkdir /tmp/user/d; podman run --rm -v /tmp/user/d:/d box sh -c 'touch /d/a; touch /d/b; chown 7:8 /d/b; cat /proc/self/uid_map' | sed 's/^ *//; s/  */ /g'; stat -c '%u %g' /tmp/user/d/a /tmp/user/d/b", "0 1000 1\n1 100000 65536\n1000 1000\n100006 100007"),
    Check("the last id works, and the next one is refused", "podman run --rm -u 65536:65536 box id -u; refused podman run --rm -u 65537 box id -u >/dev/null", "65536"),
    Check("--userns keep-id: the user keeps its id", "mkdir /tmp/user/d; podman run --rm --userns keep-id -v /tmp/user/d:/d box sh -c 'touch /d/f; id -u; id -g'; stat -c '%u %g' /tmp/user/d/f", "1000\n1000\n1000 1000"),
    Check("--userns keep-id: root inside, exec, terminal", "podman run -d --name c1 --userns keep-id box sleep 1000 >/dev/null; podman exec c1 id -u; podman exec -u 0 c1 id -u; with_tty podman exec -it c1 sh -c 'tty | grep -c /dev/pts; stat -c %u $(tty)'", "1000\n0\n1\n1000"),
    Check("--userns keep-id with another id", "podman run --rm --userns keep-id:uid=7,gid=8 box sh -c 'id -u; id -g'", "7\n8"),
    Check("--userns nomap", "podman run --rm --userns nomap box id -u", "0", needs="podman run --rm --userns nomap --help"),
    Check("--userns auto", "podman run --rm --userns auto:size=1024 box sh -c 'tr -s \" \" < /proc/self/uid_map | cut -d\" \" -f 4'", matches="^1024$"),
    Check("--uidmap of one's own", "podman run --rm --uidmap 0:5:100 --gidmap 0:5:100 box sh -c 'tr -s \" \" < /proc/self/uid_map'", "0 5 100"),
    Check("user namespace of another container", "podman run -d --name c1 --userns keep-id box sleep 1000 >/dev/null; a=$(podman exec c1 readlink /proc/self/ns/user); b=$(podman run --rm --userns container:c1 box readlink /proc/self/ns/user); [ $a = $b ] && echo same", "same"),
    # Volumes.
    Check("volume with :U", "mkdir /tmp/user/d; podman run --rm -u 5:6 -v /tmp/user/d:/d:U box sh -c 'stat -c \"%u %g\" /d; touch /d/f && echo written'; stat -c '%u %g' /tmp/user/d", "5 6\nwritten\n100004 100005"),
    Check("named volume with :U, read by another user", "podman run --rm -u 5 -v v:/d:U box sh -c 'echo kept > /d/f'; podman run --rm -u 9 -v v:/d:U box cat /d/f", "kept"),
    Check("volume with :idmap is refused and nothing is left", "mkdir /tmp/user/d; refused podman run --rm --userns keep-id -v /tmp/user/d:/d:idmap box true >/dev/null; podman ps -aq"),
    Check("volume with :O and with :z", "mkdir /tmp/user/d; echo below > /tmp/user/d/f; podman run --rm -v /tmp/user/d:/o:O -v /tmp/user/d:/z:z,ro box sh -c 'echo above > /o/f; cat /o/f /z/f; touch /z/x 2>/dev/null || echo read-only'", "above\nbelow\nread-only"),
    Check("volume of what only a group may read", "mkdir -m 750 /tmp/user/d; echo in > /tmp/user/d/f; podman run --rm -u 5 --group-add keep-groups -v /tmp/user/d:/d box cat /d/f", "in"),
    # Networks.
    Check("network none", "podman run --rm --network none box sh -c 'ls /sys/class/net; ip -o link | grep -c LOOPBACK,UP'", "lo\n1"),
    Check("network host", "podman run --rm --network host box readlink /proc/self/ns/net | grep -cF \"$(readlink /proc/self/ns/net)\"; podman run --rm --network host box sh -c 'ls /sys/class/net/ | grep -c lo; touch /sys/x 2>/dev/null || echo read-only'", "1\n1\nread-only"),
    Check("network slirp4netns with a published port", "podman run -d --name c1 --network slirp4netns -p 8082:80 box httpd -f -h /etc >/dev/null; podman exec c1 ip -4 -o address show tap0 | grep -o '10.0.2.100/24'; until_ok busybox wget -q -O /dev/null http://127.0.0.1:8082/group; busybox wget -q -O - http://127.0.0.1:8082/group", "10.0.2.100/24\nroot:x:0:"),
    Check("network pasta", "podman run --rm --network pasta:-a,10.7.7.7,-n,24,-g,10.7.7.1,-4 box ip -4 -o address | grep -o '10[.]7[.]7[.]7/24'", "10.7.7.7/24", needs="pasta --version && podman --version | grep -v ' 4[.][0-3]'"),
    Check("network of the user's own", "podman network create n1 >/dev/null; podman run -d --name c1 --network n1 box httpd -f -h /etc >/dev/null; podman run --rm --network n1 box wget -q -O - http://$(podman inspect -f '{{.NetworkSettings.Networks.n1.IPAddress}}' c1)/group", "root:x:0:"),
    Check("every namespace of the host", "podman run --rm --network host --pid host --ipc host --uts host --cgroupns host box sh -c 'for n in net pid ipc uts cgroup; do readlink /proc/self/ns/$n; done' > /tmp/user/n; for n in net pid ipc uts cgroup; do readlink /proc/self/ns/$n; done | diff - /tmp/user/n && echo same", "same"),
    # Cgroups.
    Check("--cgroups disabled", "podman run -d --name c1 --cgroups disabled box sleep 1000 >/dev/null; podman exec c1 echo in; podman stop -t 0 c1 >/dev/null 2>&1; podman wait c1; grep -c libpod /proc/self/cgroup || true", "in\n137\n0"),
    Check("--cgroups no-conmon and split", "for mode in no-conmon split; do podman run --rm --cgroups $mode box echo $mode; done", "no-conmon\nsplit", views=("v2",)),
    Check("a cgroup that is delegated is used", f"podman run -d --name c1 --cgroup-parent /user-{UID}/mine box sleep 1000 >/dev/null; grep -c sleep {DELEGATED}/mine/libpod-*/cgroup.procs >/dev/null || cat /proc/$(podman inspect -f '{{{{.State.Pid}}}}' c1)/cgroup | grep -o '/user-{UID}/mine/libpod-' | head -n 1", f"/user-{UID}/mine/libpod-", views=("v2",)),
    # As a service would.
    Check("readiness: NOTIFY_SOCKET of conmon and of the container", "python3 /tests/engines/notified.py podman run --rm --sdnotify conmon box true | grep -c READY=1; python3 /tests/engines/notified.py podman run --rm --sdnotify container box sh -c 'test -S $NOTIFY_SOCKET && echo READY=1 | nc -u -U $NOTIFY_SOCKET 2>/dev/null; ls $NOTIFY_SOCKET >/dev/null && echo there' | grep -c there", "1\n1"),
    Check("--systemd always: what a service manager needs", "podman run --rm --systemd always box sh -c 'for d in /run /tmp /var/log/journal; do grep -c \" $d tmpfs \" /proc/mounts; done; echo $container_uuid | wc -c'", "1\n1\n1\n33"),
    Check("health check by its command", "podman run -d --name c1 --health-cmd 'test -e /healthy' --health-interval disable --health-retries 1 box sleep 1000 >/dev/null; podman healthcheck run c1 >/dev/null || echo ill; podman exec c1 touch /healthy; podman healthcheck run c1 >/dev/null && echo well; podman inspect -f '{{.State.Health.Status}}' c1", "ill\nwell\nhealthy"),
    # Builds.
    Check("build: cache, secret and bind mounts", "mkdir /tmp/user/b; cd /tmp/user/b; echo hidden > s; echo bound > f; printf 'FROM box\\nRUN --mount=type=cache,target=/c echo c > /c/f; cat /c/f\\nRUN --mount=type=secret,id=s cat /run/secrets/s\\nRUN --mount=type=bind,source=f,target=/f cat /f > /kept\\nCMD cat /kept; test -e /c/f || echo no cache\\n' > Dockerfile; podman build --secret id=s,src=s -t built . 2>&1 | grep -xE 'c|hidden'; podman run --rm built; podman rmi -f built >/dev/null", "c\nhidden\nbound\nno cache"),
    Check("build: user and network", "mkdir /tmp/user/b; cd /tmp/user/b; printf 'FROM box\\nUSER 1000:7\\nRUN id -u; id -g; ls /sys/class/net\\n' > Dockerfile; podman build --no-cache --network none . 2>&1 | grep -xE '1000|7|lo'; podman image prune -f >/dev/null", "1000\n7\nlo"),
    # Accidents, and what a user may not.
    Check("mount and unshare", "podman create --name c1 box >/dev/null; podman unshare sh -c 'cat $(podman mount c1)/etc/group; podman umount c1 >/dev/null'", "root:x:0:"),
    Check("what needs root is refused", "podman run --rm --cap-add all --security-opt unmask=ALL box sh -c 'mknod /x c 1 3 2>/dev/null || echo no node; echo 1 2>/dev/null > /proc/sys/kernel/panic || echo no kernel'", "no node\nno kernel"),
    Check("conmon killed: podman forgets the container, the runtime removes it", "id=$(podman run -d --name c1 box sleep 1000); kill -9 $(cat $(podman inspect -f '{{.ConmonPidFile}}' c1)); sleep 0.2; podman rm -f -t 0 c1 >/dev/null 2>&1; podman ps -aq; podman unshare $RUNTIME delete --force $id"),
    Check("the runtime of the user sees its containers", "id=$(podman run -d --name c1 box sleep 1000); podman unshare $RUNTIME list -q | grep -cx $id; podman unshare $RUNTIME state $id | grep -c running", "1\n1"),
]

CHECKS = OF_ROOT[:1] + OWN + [check for check in OF_ROOT[1:] if check.title not in {own.title for own in OWN}]
