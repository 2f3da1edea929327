#!/usr/bin/env bash
# Makes a small Debian root file system and prints its directory: a template, to be copied or to be mounted
# read-only, never to be written to.
# usage: tests/env/debian-rootfs.sh [SUITE [PACKAGE...]]     (bookworm, with ps, python3 and nginx, unless said)
set -euo pipefail
# shellcheck source=tests/env/cache.sh
source "$(dirname "$0")/cache.sh"

if [[ ${1-} != --make ]]; then
    suite=${1:-bookworm}
    shift || true
    (($#)) || set -- procps python3-minimal nginx-light
    cached "rootfs-$suite" "$0" "" "$suite" "$@"
    exit
fi

fresh=$2 suite=$4
shift 4
packages=$*
debian_tree "$suite" "$fresh" --variant=minbase --include="${packages// /,}" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*'
