#!/usr/bin/env bash
# Makes the disk of the virtual machine that tests run in, and prints the directory of it:
#   disk.ext4   Debian trixie with systemd, AppArmor, what rootless containers need, and runc and crun
#   vmlinuz     its kernel, which has every cgroup2 controller
#   modules     the modules, in order, without which that kernel sees no disk
# The disk is a template: tests/env/guest.sh starts machines that throw away what they write to it.
# usage: tests/env/guest-image.sh
set -euo pipefail
here=$(dirname "$0")
# shellcheck source=tests/env/cache.sh
source "$here/cache.sh"

if [[ ${1-} != --make ]]; then
    if [[ $(uname -m) != x86_64 ]]; then
        echo "the virtual machine of the tests exists for x86_64 only" >&2
        exit 1
    fi
    cached guest-trixie "$0" ""
    exit
fi

fresh=$2
"$here/apt.sh" e2fsprogs kmod xz-utils
tree=$(mktemp -d) && chmod 755 "$tree" # apt reads its files as another user
trap 'rm -rf --one-file-system "$tree"' EXIT
packages=(
    systemd-sysv dbus dbus-user-session libpam-systemd linux-image-cloud-amd64
    apparmor uidmap slirp4netns passt
    busybox-static iproute2 kmod procps strace runc crun
)
include=$(IFS=, && echo "${packages[*]}")
debian_tree trixie "$tree" --variant=minbase --include="$include" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*'

# The user of the rootless tests. Its manager starts at boot and may hand every controller on.
chroot "$tree" useradd --create-home --uid 1000 --shell /bin/bash user
echo 'user:100000:65536' | tee "$tree/etc/subuid" >"$tree/etc/subgid"
mkdir -p "$tree/var/lib/systemd/linger" "$tree/etc/systemd/system/user@.service.d"
touch "$tree/var/lib/systemd/linger/user"
printf '[Service]\nDelegate=cpu cpuset io memory pids\n' >"$tree/etc/systemd/system/user@.service.d/delegate.conf"

# A quick boot: nobody logs in, and nothing is tidied up or updated on a disk that lives for minutes.
echo teu-guest >"$tree/etc/hostname"
printf '127.0.0.1 localhost teu-guest\n' >"$tree/etc/hosts"
ln -sf /dev/null "$tree/etc/systemd/system/serial-getty@.service"
ln -sf /dev/null "$tree/etc/systemd/system/getty@.service"
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer systemd-tmpfiles-clean.timer systemd-timesyncd.service systemd-networkd.service \
    systemd-networkd-wait-online.service systemd-network-generator.service systemd-pstore.service ldconfig.service \
    modprobe@drm.service; do
    ln -sf /dev/null "$tree/etc/systemd/system/$unit"
done
# Profiles of programs that are not there would take half a minute to compile.
find "$tree/etc/apparmor.d" -maxdepth 1 -type f ! -name '*pas[st]*' -delete
: >"$tree/etc/fstab"
echo uninitialized >"$tree/etc/machine-id"

mv "$tree"/boot/vmlinuz-* "$fresh/vmlinuz"
rm -rf "$tree"/boot/* "$tree"/var/cache/apt/* "$tree"/var/lib/apt/lists/*
version=$(basename "$tree"/lib/modules/*)
mkdir "$fresh/modules"
number=10
for module in virtio_pci virtio_blk ext4; do
    modprobe --dirname "$tree" --set-version "$version" --show-depends "$module"
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r path; do
    name=$(basename "${path%%.ko*}").ko
    case $path in
    *.xz) xz --decompress --stdout "$path" ;;
    *) cat "$path" ;;
    esac >"$fresh/modules/$number-$name"
    number=$((number + 1))
done
mke2fs -q -t ext4 -O ^has_journal -L guest -d "$tree" "$fresh/disk.ext4" 2G
