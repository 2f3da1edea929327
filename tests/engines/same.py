"""What docker and podman are asked for in the same words: $CLI is the command of either."""

from checks import Check

CHECKS = [
    # The process and its streams.
    Check("exit status is the program's", "$CLI run --rm box sh -c 'exit 7'", status=7),
    Check("output and errors are two streams", "$CLI run --rm box sh -c 'echo out; echo err >&2' 2>/dev/null", "out"),
    Check("input reaches the program", "echo hello | $CLI run --rm -i box cat", "hello"),
    Check(
        "terminal: device, size and owner",
        "with_tty --size 33x99 $CLI run --rm -it -u 1000 box sh -c 'sleep 0.5; tty; stty size; stat -c %u /dev/pts/0'",
        "/dev/pts/0\n33 99\n1000",
    ),
    Check(
        "exit statuses of what cannot be started",
        "status_of $CLI run --rm box nothing; status_of $CLI run --rm box /etc; status_of $CLI run --rm box /no/such",
        "127\n126\n127",
    ),
    Check("user, groups, working directory", "$CLI run --rm -u 1000:1001 --group-add 1002 -w /tmp box sh -c 'id -G; pwd'", "1001 1002\n/tmp"),
    Check("environment and host name", "$CLI run --rm -e A=b --hostname h box sh -c 'echo $A $HOSTNAME $(hostname)'", "b h h"),
    # Looking at and into a container.
    Check(
        "exec: user, environment, directory, exit status",
        """
        $CLI run -d --name c1 box sleep 1000 >/dev/null
        $CLI exec -u 1000 -e A=b -w /tmp c1 sh -c 'id -u; echo $A; pwd; exit 5' || echo $?
        """,
        "1000\nb\n/tmp\n5",
    ),
    Check("logs", "$CLI run -d --name c1 box sh -c 'echo 1; sleep 0.3; echo 2' >/dev/null; $CLI logs -f c1", "1\n2"),
    Check(
        "attach",
        """
        $CLI run -d -i --name c1 box cat >/dev/null
        (echo hello; sleep 1) | timeout -s KILL 2 $CLI attach c1 || true
        """,
        "hello",
    ),
    Check(
        "stats",
        "$CLI run -d --name c1 -m 64m box sleep 1000 >/dev/null; $CLI stats --no-stream --format '{{.MemUsage}} {{.PIDs}}' c1",
        matches="[1-9].*B / (64MiB|67.11MB) 1$",
        views=("hybrid",),
    ),
    # Ends.
    Check(
        "stop: SIGTERM, the program's exit status",
        """
        $CLI run -d --name c1 box sh -c 'trap "exit 3" TERM; echo ready; while :; do sleep 0.1; done' >/dev/null
        until_prints ready $CLI logs c1
        $CLI stop c1 >/dev/null; $CLI wait c1
        """,
        "3",
    ),
    Check(
        "stop: SIGKILL when the time is over",
        "$CLI run -d --name c1 box sleep 1000 >/dev/null; $CLI stop -t 1 c1 >/dev/null 2>&1; $CLI wait c1",
        "137",
    ),
    Check(
        "kill with another signal, and when it is over",
        """
        $CLI run -d --name c1 box sh -c 'trap "echo usr1; exit" USR1; echo ready; while :; do sleep 0.1; done' >/dev/null
        until_prints ready $CLI logs c1
        $CLI kill -s USR1 c1 >/dev/null; $CLI wait c1; $CLI logs c1
        refused $CLI kill c1
        """,
        matches="0\nready\nusr1\n.* running",
    ),
    Check(
        "restart",
        """
        $CLI run -d --name c1 box sh -c 'echo start >> /log; sleep 1000' >/dev/null
        $CLI restart -t 0 c1 >/dev/null
        until_prints 2 $CLI exec c1 grep -c start /log
        """,
    ),
    Check(
        "restart policy",
        """
        $CLI run -d --name c1 --restart on-failure:2 box false >/dev/null
        until_prints 2 $CLI inspect -f '{{.RestartCount}}' c1
        until_prints exited $CLI inspect -f '{{.State.Status}}' c1
        """,
    ),
    Check(
        "init reaps and forwards",
        """
        $CLI run -d --init --name c1 box sleep 1000 >/dev/null
        $CLI exec c1 cat /proc/1/comm; $CLI stop -t 5 c1 >/dev/null; $CLI wait c1
        """,
        matches="^(docker-init|tini|catatonit|podman-init)\n143$",
    ),
    # Networks and files.
    Check("network none", "$CLI run --rm --network none box ls /sys/class/net", "lo"),
    Check(
        "network bridge with a published port",
        """
        $CLI run -d --name c1 -p 8080:80 box httpd -f -h /etc >/dev/null
        until_ok busybox wget -q -O /dev/null http://127.0.0.1:8080/group
        busybox wget -q -O - http://127.0.0.1:8080/group
        """,
        "root:x:0:",
    ),
    Check(
        "volumes: named, bound, read-only, tmpfs",
        """
        mkdir -p /tmp/dir; echo host > /tmp/dir/file
        $CLI run --rm -v data:/data box sh -c 'echo kept > /data/file'
        $CLI run --rm -v data:/data -v /tmp/dir:/dir:ro --tmpfs /t:size=1m box sh -c '
            cat /data/file /dir/file; touch /dir/x 2>/dev/null || echo read-only; grep -c " /t tmpfs.*size=1024k" /proc/mounts'
        """,
        "kept\nhost\nread-only\n1",
    ),
    Check(
        "read-only root",
        "$CLI run --rm --read-only --tmpfs /tmp box sh -c 'touch /x 2>/dev/null || touch /tmp/x && echo fine'",
        "fine",
    ),
    Check(
        "cp both ways, diff, commit",
        """
        $CLI run -d --name c1 box sleep 1000 >/dev/null
        echo in > /tmp/in; $CLI cp /tmp/in c1:/etc/in; $CLI exec c1 cat /etc/in
        $CLI exec c1 sh -c 'echo out > /out'; $CLI cp c1:/out - | tar -xO
        $CLI diff c1 | grep -x 'A /out'
        $CLI commit c1 changed >/dev/null; $CLI run --rm changed cat /out; $CLI rmi -f changed >/dev/null
        """,
        "in\nout\nA /out\nout",
    ),
    # Privileges and sharing.
    Check(
        "capabilities",
        "$CLI run --rm --cap-drop ALL --cap-add NET_ADMIN --cap-add CHOWN box grep CapEff /proc/self/status",
        matches="0000000000001001$",
    ),
    Check(
        "ipc, pid and network of another container",
        """
        $CLI run -d --name c1 --ipc shareable box sh -c 'echo x > /dev/shm/file; sleep 1000' >/dev/null
        $CLI run --rm --ipc container:c1 box cat /dev/shm/file
        $CLI run --rm --pid container:c1 box sh -c 'ps -o args | grep -c "slee[p]"'
        a=$($CLI exec c1 readlink /proc/self/ns/net); b=$($CLI run --rm --network container:c1 box readlink /proc/self/ns/net)
        [ "$a" = "$b" ] && echo same
        """,
        "x\n1\nsame",
    ),
    Check(
        "every container gone, fifty times",
        "for i in $(seq 50); do $CLI run --rm --network none box true || exit; done",
        "",
        long=True,
        timeout=180,
    ),
]
