#!/usr/bin/env bash
# Checks the systemd cgroup driver against a real systemd, which boots in a container of teu's own: that of Debian
# trixie where cgroups are of version 2, that of bookworm where they are hybrid. Which limits can be compared depends
# on the controllers that this machine has there; every one of version 2 is in the virtual machine, `make test-vm`.
# usage: tests/env/systemd.sh TEU hybrid|v2 [NAME...]      the names are those of tests/env/systemd/checks
set -euo pipefail
here=$(dirname "$0")
teu=$(realpath "$1") view=$2
shift 2

case $view in
hybrid) suite=bookworm ;;
v2) suite=trixie ;;
*) echo "usage: $0 TEU hybrid|v2 [NAME...]" >&2 && exit 2 ;;
esac
"$here/apt.sh" busybox-static mmdebstrap
tree=$("$here/debian-rootfs.sh" "$suite" systemd-sysv dbus dbus-user-session procps libpam-systemd)
"$here/view.sh" "$view" "$here/guard.sh" "$here/systemd/boot" "$teu" "$tree" "$here/systemd/checks" "$@"
