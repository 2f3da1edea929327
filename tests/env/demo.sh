#!/usr/bin/env bash
# Shows what teu does, on a bundle with a busybox root file system: a container from the inside, the plan of it, and
# its life cycle step by step. Leaves nothing behind.
# usage: tests/env/demo.sh TEU
set -euo pipefail
here=$(dirname "$0")
teu=$1

work=$(mktemp -d)
clean_up() {
    "$teu" delete --force demo-life || true
    rm -rf --one-file-system "$work"
}
trap clean_up EXIT

say() { printf '\n\e[1m%s\e[0m\n' "$*"; }
# Prints a command as a person would type it, then runs it.
run() {
    printf '\e[32m$ %s\e[0m\n' "${*/#$teu/teu}"
    "$@"
}

say "A bundle is a directory with a root file system and a config.json:"
"$here/busybox-bundle.sh" "$work/hello" "$teu"
cat >"$work/hello/rootfs/bin/hello" <<'HELLO'
#!/bin/sh
echo "Hello from pid $$ on the host \"$(hostname)\", as $(id)"
echo "My processes:"; ps
echo "My network interfaces: $(ls /sys/class/net)"
echo "My mounts:"; mount
HELLO
chmod +x "$work/hello/rootfs/bin/hello"
sed -i -e 's|^\(\s*\)"sh"|\1"/bin/hello"|' -e 's/"hostname": ".*"/"hostname": "demo"/' "$work/hello/config.json"
cd "$work"
run ls hello hello/rootfs

say "Run it. It has namespaces of its own: pid 1, a host name, one network interface, its own mounts."
run "$teu" run hello/

say "What teu did, in order: who, which call, and the line of config.json that asked for it."
run "$teu" plan hello/

say "The life cycle, one command at a time. First a bundle whose program waits:"
cp -a hello life
sed -i 's|"/bin/hello"|"sleep", "1000"|' life/config.json
say "create: everything is set up, the program has not started."
run "$teu" create --bundle life demo-life </dev/null
run "$teu" state demo-life
say "start: the program runs."
run "$teu" start demo-life
run "$teu" list
say "kill: the program gets a signal, and nothing of the container runs any more."
run "$teu" kill demo-life KILL
until "$teu" state demo-life | grep -q '"status": *"stopped"'; do sleep 0.1; done
run "$teu" state demo-life
say "delete: its cgroups and its state are gone."
run "$teu" delete demo-life
run "$teu" list
