#!/usr/bin/env bash
# Makes a Debian tree that holds the container engines and prints its directory: dockerd, containerd, podman, buildah,
# and what they call. Nothing is installed on this system, and no service is started anywhere.
# usage: tests/env/engines-tree.sh [SUITE]     (bookworm unless said; sid has the newest engines)
set -euo pipefail
# shellcheck source=tests/env/cache.sh
source "$(dirname "$0")/cache.sh"

if [[ ${1-} != --make ]]; then
    suite=${1:-bookworm}
    cached "engines-$suite" "$0" "" "$suite"
    exit
fi

fresh=$2 suite=$4
packages=(
    docker.io containerd podman buildah runc crun conmon netavark aardvark-dns catatonit tini nftables
    busybox-static ca-certificates iproute2 iptables kmod procps passt python3 slirp4netns uidmap util-linux xz-utils
)
# For the calls of a kubelet.
packages+=(python3-grpcio)
case $suite in
bookworm) packages+=(docker-compose) ;;
*) packages+=(docker-cli docker-compose docker-buildx) ;;
esac
include=$(IFS=, && echo "${packages[*]}")
debian_tree "$suite" "$fresh" --variant=minbase --include="$include" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*'
