#!/usr/bin/env bash
# Builds the validation suite of the Open Container Initiative (runtime-tools) and prints its directory: one
# program per subject, runtimetest, which they run inside the container, and the root file system they unpack.
#
# The source is Debian's newest package (sid). Compiler and libraries are those of bookworm, whose versions are the
# ones the suite asks for; nothing is installed on this system. The one library that Debian lacks, a writer of
# test results, is tests/oci-validation/tap.go.
# usage: tests/env/oci-suite.sh
set -euo pipefail
here=$(dirname "$0")
# shellcheck source=tests/env/cache.sh
source "$here/cache.sh"
tap=$here/../oci-validation/tap.go

if [[ ${1-} != --make ]]; then
    cached oci-suite "$0" "$tap"
    exit
fi

fresh=$2
"$here/apt.sh" xz-utils
work=$(mktemp -d) && chmod 755 "$work" # apt reads its files as another user
trap 'rm -rf "$work"' EXIT
mkdir "$work/tree"
packages=(
    golang-go golang-gocapability-dev golang-golang-x-sys-dev
    golang-github-{blang-semver,google-uuid,hashicorp-go-multierror,mrunalp-fileutils}-dev
    golang-github-{opencontainers-selinux,opencontainers-specs,sirupsen-logrus,urfave-cli}-dev
    golang-github-xeipuuv-gojsonschema-dev
)
include=$(IFS=, && echo "${packages[*]}")
# The archive is the one that the tree comes from, with sid's sources beside it.
# shellcheck disable=SC2016 # $1 is the tree; expanded by the shell that runs the hook
fetch='cd "$1" && export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" &&
    sed -n "s/^deb \(.*\) bookworm main/deb-src \1 sid main/p" etc/apt/sources.list >etc/apt/sources.list.d/sid.list &&
    apt-get -qq update 2>/dev/null &&
    apt-get -qq source --download-only --tar-only golang-github-opencontainers-runtime-tools 2>/dev/null'
debian_tree bookworm "$work/tree" --variant=extract --include="$include" --extract-hook="$fetch"

export GOROOT=$work/tree/usr/lib/go GOPATH=$work/go:$work/tree/usr/share/gocode GOCACHE=$work/cache
export GO111MODULE=off CGO_ENABLED=0 GOFLAGS=-p=1
suite=$work/go/src/github.com/opencontainers/runtime-tools
mkdir -p "$suite" "$work/go/src/github.com/mndrix/tap-go"
cp "$tap" "$work/go/src/github.com/mndrix/tap-go/"
tar -xf "$work"/tree/golang-github-opencontainers-runtime-tools_*.orig.tar.xz -C "$suite" --strip-components=1

mkdir "$fresh/programs"
cd "$suite"
"$GOROOT/bin/go" build -ldflags '-s -w' -o "$fresh/programs/" ./validation/...
"$GOROOT/bin/go" build -ldflags '-s -w' -o "$fresh/" ./cmd/runtimetest
cp LICENSE VERSION rootfs-*.tar.gz "$fresh/"
