#!/usr/bin/env bash
# Makes a bundle: DIR/rootfs holds a static busybox with all its commands, DIR/config.json is what `RUNTIME spec`
# writes, without a terminal.
# usage: tests/env/busybox-bundle.sh DIR RUNTIME
set -euo pipefail
here=$(dirname "$0")
bundle=$1 runtime=$2

"$here/apt.sh" busybox-static
mkdir -p "$bundle"/rootfs/{bin,sbin,dev,etc,proc,root,sys,tmp,usr/bin,usr/sbin,var}
cp "$(command -v busybox)" "$bundle/rootfs/bin/busybox"
for command in $("$bundle/rootfs/bin/busybox" --list); do
    [[ $command == busybox ]] || ln -sf busybox "$bundle/rootfs/bin/$command"
done
echo 'root:x:0:0:root:/root:/bin/sh' >"$bundle/rootfs/etc/passwd"
echo 'root:x:0:' >"$bundle/rootfs/etc/group"

"$runtime" spec --bundle "$bundle"
sed -i 's/"terminal": true/"terminal": false/' "$bundle/config.json"
