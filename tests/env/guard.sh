#!/usr/bin/env bash
# Runs a command that could harm the machine when a runtime is wrong: in a mount and a pid namespace of its own, in
# which the machine's file systems are read-only, /etc is a copy, and $WORK is an empty tmpfs. When the command ends,
# its processes are killed and its mounts and files are gone. Cgroups are the machine's; those whose names begin with
# the last part of $WORK and a dash are removed.
# usage: tests/env/guard.sh COMMAND [ARGUMENT...]
set -euo pipefail

if [[ ${1-} != --inside ]]; then
    WORK=$(mktemp -d)
    export WORK
    # shellcheck disable=SC2317 # the trap calls it
    clean_up() {
        rmdir "$WORK"
        find /sys/fs/cgroup -ignore_readdir_race -depth -type d -path "*/${WORK##*/}-*" -exec rmdir {} + || true
    }
    trap clean_up EXIT
    # While it waits, unshare ignores the signals that would end it, and pid 1 of a namespace ignores them too.
    # A shell without job control starts background commands with SIGINT ignored, which the runtimes would inherit.
    env --default-signal=INT,QUIT \
        unshare --mount --propagation private --pid --fork --kill-child --mount-proc bash "$0" --inside "$@" <&0 &
    guarded=$!
    trap 'kill -KILL "$guarded"' INT TERM
    status=0
    wait "$guarded" || status=$?
    exit "$status"
fi
shift

# A mount point below another is covered by its parent; that one cannot be reached, and need not be protected.
{ echo / && findmnt --real --noheadings --raw --output TARGET; } | sort -u | while read -r target; do
    mount -o remount,bind,ro "$target"
done
mount -t tmpfs -o mode=755 work "$WORK"
cp -a /etc "$WORK/etc"
mount --bind "$WORK/etc" /etc
exec "$@"
