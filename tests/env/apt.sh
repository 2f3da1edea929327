#!/usr/bin/env bash
# Installs those of the named Debian packages that are missing, and says which.
# usage: tests/env/apt.sh PACKAGE...
set -euo pipefail
here=$(dirname "$0")

if ! command -v dpkg-query >/dev/null; then
    echo "not a Debian machine: it must have what these packages of Debian contain: $*" >&2
    exit 0
fi
missing=()
for package; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0

if ((EUID)); then
    echo "these Debian packages are missing, and installing them needs root: ${missing[*]}" >&2
    exit 1
fi
echo "installing with apt-get: ${missing[*]}" >&2

# The lists are refreshed each time. When only that fails, perhaps for a source that is not Debian's, the
# packages may still be there.
# shellcheck disable=SC2016 # expanded by the inner shell
DEBIAN_FRONTEND=noninteractive "$here/retry.sh" "apt-get install" bash -c '
    apt-get -qq update || true
    apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 install "$@"' install "${missing[@]}" >&2
