#!/usr/bin/env bash
# Runs a command as root in a virtual machine of its own: Debian trixie, cgroup2 with every controller, AppArmor.
# What the command prints appears on stdout, its exit status is that of this script. Nothing on this machine is
# touched, so a runtime may be started in it without further care. What the command writes is gone with the machine.
#
#   --fast          no systemd: a small init starts the command. Seconds instead of a minute, for development.
#   --put FILE      makes FILE, or a directory with all its files, available in the machine's PATH (/payload/bin);
#                   may be repeated. teu is there already: $TEU, or the newest build of this tree.
#   --limit SECONDS how long all of it may take; 600 unless said
#
# In the machine, `as-user COMMAND` runs a command below the service manager of the user `user`, who has subordinate
# ids and every controller delegated (not with --fast).
#
# The processor is emulated, because a machine that is itself virtual cannot lend its own. The command runs ten to
# twenty times slower than here.
# usage: tests/env/guest.sh [OPTION...] run COMMAND [ARGUMENT...]
set -euo pipefail
here=$(dirname "$0")

mode=systemd limit=600 put=()
while [[ ${1-} == --* ]]; do
    case $1 in
    --fast) mode=fast ;;
    --put) put+=("$2") && shift ;;
    --limit) limit=$2 && shift ;;
    *) echo "$0: unknown option $1" >&2 && exit 2 ;;
    esac
    shift
done
if [[ ${1-} != run || $# -lt 2 ]]; then
    echo "usage: $0 [--fast] [--put FILE]... [--limit SECONDS] run COMMAND [ARGUMENT...]" >&2
    exit 2
fi
shift

"$here/apt.sh" qemu-system-x86 busybox-static
image=$("$here/guest-image.sh")
work=$(mktemp -d)
log=$work/serial.log
status=failed # until the machine says otherwise
clean_up() {
    [[ $status == failed ]] || rm -rf --one-file-system "$work"
}
trap clean_up EXIT

# The second disk is a tar archive: the programs, and the command as a line of shell.
if [[ -z ${TEU-} ]]; then
    # shellcheck disable=SC2012 # the names are ours
    TEU=$(ls -t "$here"/../../target/x86_64-unknown-linux-gnu/{debug,release}/teu 2>/dev/null | head -n 1 || true)
fi
mkdir -p "$work/payload/bin"
cp "$here"/guest/{job,fast-init,as-user} "$work/payload/"
ln -s ../as-user "$work/payload/bin/as-user"
[[ -z $TEU ]] || put+=("$TEU")
for file in "${put[@]}"; do
    if [[ -d $file ]]; then cp -a "$file"/. "$work/payload/bin/"; else cp "$file" "$work/payload/bin/"; fi
done
chmod -R a+rX "$work/payload"
printf '%q ' "$@" >"$work/payload/command"
tar -C "$work/payload" --owner=0 --group=0 -cf "$work/payload.tar" .
rm -rf "$work/payload"

# The first program of the machine: loads the modules, mounts the disk, brings the second disk's files there.
mkdir -p "$work/initramfs"/{bin,dev,proc,sys,root}
cp "$(command -v busybox)" "$work/initramfs/bin/busybox"
ln -s busybox "$work/initramfs/bin/sh"
cp "$here/guest/initramfs" "$work/initramfs/init"
cp -r "$image/modules" "$work/initramfs/modules"
(cd "$work/initramfs" && find . | busybox cpio -o -H newc 2>/dev/null) >"$work/initramfs.cpio"
rm -rf "$work/initramfs"

# The three serial lines: the console, what the command prints, and its exit status. cx16=off: with it the kernel
# finds its own code wrong in emulation, and stops. thread=single: with a thread for each processor the emulation now
# and then runs the breakpoint of a kernel that changes its own code, long after that has taken the breakpoint away.
rc=0
TMPDIR=$work timeout --signal=KILL "$limit" qemu-system-x86_64 \
    -accel tcg,thread=single,tb-size=512 -cpu max,la57=off,cx16=off -smp 2 -m 2048 \
    -nodefaults -no-user-config -display none -no-reboot -nic none \
    -kernel "$image/vmlinuz" -initrd "$work/initramfs.cpio" \
    -append "console=ttyS0 quiet panic=-1 mitigations=off apparmor=1 security=apparmor teu.mode=$mode" \
    -drive "file=$image/disk.ext4,format=raw,if=virtio,snapshot=on" \
    -drive "file=$work/payload.tar,format=raw,if=virtio,read-only=on" \
    -serial "file:$log" -serial stdio -serial "file:$work/status" </dev/null || rc=$?

if ((rc == 0)) && [[ -s $work/status ]]; then
    status=$(tr -cd 0-9 <"$work/status")
    exit "$status"
fi
if ((rc == 137)); then reason="was ended after $limit s"; else reason="ended without a result (exit status $rc)"; fi
tail -n 20 "$log" >&2 || true
echo "$0: the virtual machine $reason; its console: $log" >&2
exit 1
