#!/usr/bin/env bash
# Runs a command in one view of the machine's cgroups.
#   hybrid   the machine as it is, with cgroup v1 hierarchies
#   v2       one cgroup2 file system on /sys/fs/cgroup: the machine as it is, or, where that has v1 hierarchies,
#            a private mount namespace in which they are replaced; the host's mounts stay as they are
# usage: tests/env/view.sh hybrid|v2 COMMAND [ARGUMENT...]
#        tests/env/view.sh --list       prints the views that this machine can give
set -euo pipefail

is_v2() { [[ $(stat -f -c %T /sys/fs/cgroup) == cgroup2fs ]]; }

case ${1-} in
--list)
    if is_v2; then echo v2; else echo hybrid v2; fi
    ;;
hybrid)
    if is_v2; then
        echo "this machine has no cgroup v1 hierarchies, so there is no hybrid view" >&2
        exit 1
    fi
    shift
    exec "$@"
    ;;
v2)
    shift
    if is_v2; then exec "$@"; fi
    exec unshare --mount --propagation private bash -euo pipefail -c '
        umount --recursive /sys/fs/cgroup
        mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 /sys/fs/cgroup
        exec "$@"' view "$@"
    ;;
*)
    echo "usage: $0 hybrid|v2 COMMAND... | --list" >&2
    exit 1
    ;;
esac
