#!/usr/bin/env bash
# Runs a command until it succeeds, at most five times, with growing pauses: a download can fail for a moment.
# WHAT says in words what is tried; it is printed when that fails.
# usage: tests/env/retry.sh WHAT COMMAND [ARGUMENT...]
set -euo pipefail
what=$1
shift

for pause in 2 5 10 20 0; do
    "$@" && exit 0
    status=$?
    ((pause)) || break
    echo "$what: exit status $status, again in $pause s" >&2
    sleep "$pause"
done
echo "$what: exit status $status, gave up after five attempts" >&2
exit "$status"
