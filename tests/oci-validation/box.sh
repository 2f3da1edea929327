#!/usr/bin/env bash
# Runs one program of the validation suite where it can do no harm, and removes what it leaves.
#
# Some of the programs ask for a container without a mount namespace, so that the runtime mounts into theirs, and
# then delete the bundle recursively, through those mounts. Many leave containers and cgroups behind.
# usage: tests/oci-validation/box.sh SUITE RUNTIME PROGRAM
set -euo pipefail

if [[ $1 != --inside ]]; then
    exec "$(dirname "$0")/../env/guard.sh" bash "$0" --inside "$@"
fi
suite=$2 runtime=$3 program=$4

# Cgroups with the names that the suite gives: two fixed ones and container ids, which are UUIDs. Children first.
# Those of others may vanish while they are listed, which find reports as an error.
suite_cgroups() {
    find /sys/fs/cgroup -ignore_readdir_race -depth -type d -regextype posix-extended \
        -regex '.*/(cgrouptest|testdir|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})(/.*)?' 2>/dev/null || true
}

mkdir "$WORK"/{state,bundles}
# The suite calls the runtime by one word, so the state directory goes into a script. It sends signals as soon as
# start returns, when the shell in the container may not have reached its `trap` yet, and pid 1 of a container
# loses a signal that it does not handle; so kill waits a little.
cat >"$WORK/runtime" <<SCRIPT
#!/bin/sh
[ "\$1" != kill ] || sleep 0.3
exec $(printf %q "$runtime") --root "$WORK/state" "\$@"
SCRIPT
chmod 755 "$WORK/runtime"

before=$(suite_cgroups)
status=0
cd "$suite"
RUNTIME=$WORK/runtime TMPDIR=$WORK/bundles timeout --kill-after=5 60 "programs/$program" </dev/null || status=$?

for id in $("$WORK/runtime" list --quiet); do
    "$WORK/runtime" delete --force "$id" || true
done
for cgroup in $(suite_cgroups); do
    grep -qxF "$cgroup" <<<"$before" || rmdir "$cgroup" || true
done
exit "$status"
