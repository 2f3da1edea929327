#!/usr/bin/env bash
# Runs the tests in the virtual machine of tests/env/guest.sh, where cgroup2 has every controller. The programs are
# built here; the machine has only them.
# usage: tests/env/test-vm.sh TEU [MODE...]      the modes are those of tests/env/guest/suite: units, root and
#                                                systemd unless said; `all` for every one
set -euo pipefail
here=$(dirname "$0")
teu=$1
shift
(($#)) || set -- units root systemd

bin=$(mktemp -d)
trap 'rm -rf --one-file-system "$bin"' EXIT
# cargo prints `Executable tests/integration/main.rs (target/.../integration-4ec1...)`.
built=$(cargo test --package teu --lib --test integration --no-run --locked 2>&1) || { echo "$built" >&2 && exit 1; }
program() { sed -n "s|.*Executable .*$1.* (\(.*\))\$|\1|p" <<<"$built"; }
cp "$(program src/lib.rs)" "$bin/units"
cp "$(program tests/integration/main.rs)" "$bin/integration"
cp "$here"/guest/{suite,settings,apparmor-profile} "$bin/"
cp "$here/systemd/checks" "$bin/systemd-checks"
# The machine has the runc of its Debian; the newest runs there too.
if [[ " $* " == *" runc "* || " $* " == *" all "* ]]; then
    peers=$("$here/peers.sh") && cp "${peers%/bin}/tree/usr/bin/runc" "$bin/"
fi

export TEU=$teu
"$here/guest.sh" --limit "${VM_LIMIT:-3600}" --put "$bin" run suite "$@"
