#!/usr/bin/env bash
# Gets the newest runc and crun that Debian has (from sid) and prints the directory that holds both programs.
#
# Debian 12's own are years old. The programs run on this system with the libraries of the tree they came
# with: their interpreter and library path are rewritten, because a wrapper that calls the tree's ld.so would
# be what /proc/self/exe names, and both runtimes execute themselves through it.
# usage: tests/env/peers.sh
set -euo pipefail
here=$(dirname "$0")
# shellcheck source=tests/env/cache.sh
source "$here/cache.sh"

if [[ ${1-} != --make ]]; then
    peers=$(cached peers "$0" "")
    echo "$peers/bin"
    exit
fi

fresh=$2 final=$3
"$here/apt.sh" gcc patchelf
mkdir "$fresh/tree" "$fresh/bin"
debian_tree sid "$fresh/tree" --variant=extract --include=runc,crun
libraries=usr/lib/$(gcc -print-multiarch)
for program in runc crun; do
    cp -L "$fresh/tree/usr/bin/$program" "$fresh/bin/"
    interpreter=$(patchelf --print-interpreter "$fresh/bin/$program")
    patchelf --force-rpath --set-rpath "$final/tree/$libraries" \
        --set-interpreter "$final/tree/usr$interpreter" "$fresh/bin/$program"
done
