# shellcheck shell=bash
# Sourced by the scripts that prepare costly test material: trees of packages, built suites.
#
# The material lives outside the checkout, so that a second run and a second checkout are quick. It is made
# when it is missing, under a lock, and appears under its name only when it is complete. The name contains a
# hash of the recipe, so that a changed recipe makes new material. The whole directory can be deleted at any time.

cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/teu-tests

# Prints the directory of NAME. When it is missing, runs `SCRIPT --make FRESH FINAL [ARGUMENT...]` first: the
# script fills FRESH, which is then renamed to FINAL. FILES, besides the script, are part of the recipe's hash.
# usage: cached NAME SCRIPT "FILES" [ARGUMENT...]
cached() {
    local name=$1 script=$2 files=$3
    shift 3
    local recipe final fresh lock
    # shellcheck disable=SC2086 # FILES is a list
    recipe=$( (cat "$script" $files && echo "$*") | sha256sum)
    final=$cache/$name-${recipe:0:12}
    if [[ ! -e $final ]]; then
        mkdir -p "$cache"
        exec {lock}>"$cache/.$name.lock"
        flock "$lock"
        if [[ ! -e $final ]]; then
            echo "making $final" >&2
            # What an interrupted run left; nobody else is at work while we hold the lock.
            rm -rf "$cache/.$name".fresh.*
            fresh=$(mktemp -d "$cache/.$name.fresh.XXXXXX")
            chmod 755 "$fresh"
            # Said in full, because bash forgets `set -e` inside $(...).
            bash "$script" --make "$fresh" "$final" "$@" {lock}>&- >&2 || {
                echo "could not make $final" >&2
                rm -rf "$fresh"
                exit 1
            }
            mv "$fresh" "$final"
        fi
        exec {lock}>&-
    fi
    echo "$final"
}

# Fills an empty directory with a tree of Debian packages; the options are those of mmdebstrap.
#
# Signatures of the archive are checked; the date until which they are valid is not, because a mirror in a
# closed network may be older than that.
# usage: debian_tree SUITE DIRECTORY OPTION...
debian_tree() {
    local suite=$1 directory=$2
    shift 2
    "$(dirname "${BASH_SOURCE[0]}")/apt.sh" mmdebstrap
    # shellcheck disable=SC2016 # expanded by the inner shell
    "$(dirname "${BASH_SOURCE[0]}")/retry.sh" "make a tree of Debian $suite" bash -c '
        suite=$1 directory=$2
        shift 2
        find "$directory" -mindepth 1 -delete
        mmdebstrap --quiet --aptopt="Acquire::Check-Valid-Until \"false\"" \
            --aptopt="APT::Install-Recommends \"false\"" "$@" "$suite" "$directory"' \
        debian_tree "$suite" "$directory" "$@"
}
