#!/usr/bin/env bash
# Runs a command in a laboratory for container engines: as root of a Debian tree with engines (engines-tree.sh), in
# mount, pid, network, ipc, uts and cgroup namespaces of its own. TEU is there as /usr/local/bin/teu, and of this
# repository /tests and /contrib.
#
# Engines are daemons that mount, write firewall rules and sysctls, and make network devices and cgroups. Here:
#   files      the root is an overlay over the tree and its changes are in memory; the host's file systems are not there
#   devices    /dev is made anew and has no disks; /sys and /proc/sys are read-only, but for the namespaced net/
#   network    there is a loopback device and what the engines make
#   cgroups    the root that is seen is one cgroup, named after this run, in every hierarchy of the host
# When the command ends, its processes are killed, and the script proves that the host is as it was: no process, no
# cgroup, no mount, no network device. Something that is left is an error.
# usage: tests/env/engines.sh hybrid|v2 SUITE TEU COMMAND [ARGUMENT...]
set -euo pipefail
here=$(realpath "$(dirname "$0")")

# The mount points of the host's cgroup hierarchies.
hierarchies() { findmnt --noheadings --list --types cgroup,cgroup2 --output TARGET; }

# What a run could leave on the host and could not be told from its cgroups.
host_facts() {
    ip -oneline link | sed 's/^[0-9]*: \([^:]*\):.*/network device \1/'
    sed 's/^[0-9]* [0-9]* [^ ]* \([^ ]*\) \([^ ]*\) .*/mount \2 of \1/' /proc/self/mountinfo
    sysctl --all 2>/dev/null | grep -E '^kernel\.(core_pattern|hostname|keys)|^net\.(ipv4\.ip_forward|bridge)' || true
}

outside() {
    view=$1 suite=$2 teu=$(realpath "$3")
    shift 3
    "$here/view.sh" --list | tr ' ' '\n' | grep -qx "$view" || { echo "this machine has no view $view" >&2; exit 1; }
    tree=$("$here/engines-tree.sh" "$suite")
    lab=teu-engines-$$
    WORK=$(mktemp -d)
    host_facts >"$WORK/before"
    status=0

    for hierarchy in $(hierarchies); do
        mkdir "$hierarchy/$lab"
        for file in cpuset.cpus cpuset.mems; do
            # A cgroup of version 1 has no processors until it is given some.
            [[ ! -e $hierarchy/$lab/$file ]] || cat "$hierarchy/$file" >"$hierarchy/$lab/$file" || true
        done
    done
    # In the cgroups of the run a cgroup namespace begins, so that these are its roots. On version 2 everybody is in a
    # leaf of it, because a cgroup that has processes cannot give controllers to its children.
    leaf=$(findmnt --noheadings --list --types cgroup2 --output TARGET --first-only)/$lab/lab
    mkdir "$leaf"
    # shellcheck disable=SC2016 # expanded by the inner shells
    env --default-signal=INT,QUIT bash -euo pipefail -c '
        leaf=$1
        for directory in $2; do echo $$ >"$directory/cgroup.procs"; done
        shift 2
        exec unshare --cgroup bash -euo pipefail -c "echo \$\$ >$leaf/cgroup.procs; exec \"\$@\"" join \
            unshare --mount --propagation private --pid --net --ipc --uts --fork --kill-child "$@"' join \
        "$leaf" "$(hierarchies | sed "s|\$|/$lab|")" bash "$0" --inside "$view" "$tree" "$teu" "$WORK" "$@" <&0 &
    inside=$!
    trap 'kill -KILL "$inside"' INT TERM
    wait "$inside" || status=$?
    prove || status=1
    rm -r --one-file-system "$WORK"
    exit "$status"
}

# Removes the run's cgroups, and tells whether anything else of it is left.
prove() {
    local left=
    for hierarchy in $(hierarchies); do
        for attempt in 1 2 3 4 5 6 7 8 9 10; do
            find "$hierarchy/$lab" -depth -type d -exec rmdir {} + 2>/dev/null || true
            [[ -e $hierarchy/$lab ]] || break
            sleep 0.2
        done
        if [[ -e $hierarchy/$lab ]]; then
            left+="cgroup $hierarchy/$lab, processes: $(find "$hierarchy/$lab" -name cgroup.procs -exec cat {} + | tr '\n' ' ')"$'\n'
        fi
    done
    host_facts >"$WORK/after"
    # Others may unmount, and make trees of packages, meanwhile.
    left+=$(diff "$WORK/before" "$WORK/after" | sed -n 's/^> //p' | grep -v '\.fresh\.') || true
    if [[ $left ]]; then
        printf 'the host is not as it was:\n%s\n' "$left" >&2
        return 1
    fi
    echo "left on the host: no process, cgroup, mount or network device"
}

inside() {
    local view=$1 tree=$2 teu=$3 work=$4
    shift 4
    mount -t tmpfs -o mode=755 lab "$work"
    local root=$work/root
    mkdir "$work"/{changes,overlay,root}
    mount -t overlay -o "lowerdir=$tree,upperdir=$work/changes,workdir=$work/overlay" overlay "$root"
    cp "$teu" "$root/usr/local/bin/teu"
    mkdir "$root/tests" "$root/contrib" "$root/.old"
    mount --bind -o ro "$here/.." "$root/tests"
    mount --bind -o ro "$here/../../contrib" "$root/contrib"
    # Graph drivers do not work on an overlay.
    for directory in /run /tmp /var/lib/docker /var/lib/containerd /var/lib/containers; do
        mkdir -p "$root$directory"
        mount -t tmpfs -o mode=755 lab "$root$directory"
    done
    chmod 1777 "$root/tmp"
    kernel_file_systems "$root"
    cgroups "$view" "$root/sys/fs/cgroup"
    hostname engines
    ip link set lo up
    echo '127.0.0.1 localhost engines' >"$root/etc/hosts"
    echo 'nameserver 127.0.0.1' >"$root/etc/resolv.conf"
    cd "$root"
    pivot_root . .old
    umount --lazy /.old
    # As on a real host.
    mount --make-rshared /
    cd /
    # Process 1 adopts what daemons leave.
    exec env --ignore-environment PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
        LANG=C.UTF-8 TERM=xterm LAB_VIEW="$view" /usr/bin/tini -- "$@"
}

kernel_file_systems() {
    local root=$1 device
    # The kernel lets a user namespace mount a new proc only when one is to be seen that nothing covers: /mnt.
    mount -t proc proc "$root/proc"
    mount -t proc proc "$root/mnt"
    mount --bind "$root/mnt/sys" "$root/proc/sys"
    mount -o remount,bind,ro "$root/proc/sys"
    mount --bind "$root/mnt/sys/net" "$root/proc/sys/net"
    mount -t sysfs sysfs "$root/sys"
    mount -o remount,bind,ro "$root/sys"
    mount -t tmpfs -o mode=755 dev "$root/dev"
    mkdir "$root"/dev/{pts,shm,mqueue,net}
    mount -t devpts -o newinstance,gid=5,mode=620,ptmxmode=666 devpts "$root/dev/pts"
    mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
    mount -t mqueue mqueue "$root/dev/mqueue"
    for device in 'null 1 3' 'zero 1 5' 'full 1 7' 'random 1 8' 'urandom 1 9' 'tty 5 0' 'fuse 10 229' 'net/tun 10 200'; do
        # shellcheck disable=SC2086 # three words
        set -- $device
        mknod -m 666 "$root/dev/$1" c "$2" "$3"
    done
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    for device in 0:stdin 1:stdout 2:stderr; do ln -s "fd/${device%:*}" "$root/dev/${device#*:}"; done
}

# Mounts the hierarchies anew, so that they begin at the cgroup of this run.
cgroups() {
    local view=$1 target=$2 unified=$2 name type options
    if [[ $view == v2 ]]; then
        mount -t cgroup2 cgroup2 "$target"
    else
        mount -t tmpfs -o mode=755 cgroups "$target"
        unified=$target/unified
        findmnt --noheadings --list --types cgroup,cgroup2 --output TARGET,FSTYPE,FS-OPTIONS | grep '^/sys/' |
            while read -r name type options; do
                mkdir "$target/${name##*/}"
                mount -t "$type" -o "${options#*rw,}" "$type" "$target/${name##*/}"
            done
        mount -o remount,ro "$target"
    fi
    # As systemd leaves it.
    # shellcheck disable=SC2013 # a list of words
    for name in $(cat "$unified/cgroup.controllers"); do echo "+$name" >"$unified/cgroup.subtree_control"; done
}

if [[ ${1-} == --inside ]]; then
    shift
    inside "$@"
else
    outside "$@"
fi
