#!/bin/sh
# Checks that the cores are pure: their archives may use each other in the order of the layers, and
# beyond that only memory, strings and what the compiler itself puts in. Whatever else they call,
# say a clock, a socket or a lock, is listed and fails the check, and so does a missing archive.
#
#   sh tests/purity.sh [BUILD DIRECTORY]
set -eu
build=${1:-$(dirname "$0")/../build/release}
lib=$build/lib

# What the C library may be asked for.
c_library='malloc|calloc|realloc|free|mem(cpy|move|set|cmp|chr)|str(len|nlen|cmp|ncmp|chr|rchr|str|spn|cspn)|v?snprintf'
# The one thing of ours that does touch the outside: it is for our own bugs, and has an archive apart.
assert='base_assert_fail'
# What the compiler makes of them, and of stack protection.
compiler='__(memcpy|memmove|memset|snprintf|vsnprintf)_chk|__stack_chk_fail|_GLOBAL_OFFSET_TABLE_'
allowed="^($c_library|$assert|$compiler)\$"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0

# pure ARCHIVE [LAYER...]: checks one archive, which may use itself and the layers given, which were
# checked before it.
pure() {
    archive=$1
    if [ ! -f "$lib/lib$archive.a" ]; then
        echo "$archive: there is no $lib/lib$archive.a"
        status=1
        return
    fi
    nm -g "$lib/lib$archive.a" >"$work/symbols"
    awk 'NF == 3 { print $3 }' "$work/symbols" | sort -u >"$work/$archive"
    if [ ! -s "$work/$archive" ]; then
        echo "$archive: the archive is empty"
        status=1
        return
    fi
    for provider in "$@"; do
        [ ! -f "$work/$provider" ] || cat "$work/$provider"
    done | sort -u >"$work/provided"
    awk 'NF == 2 { print $2 }' "$work/symbols" | sort -u | comm -23 - "$work/provided" |
        grep -Ev "$allowed" >"$work/foreign" || :
    if [ -s "$work/foreign" ]; then
        echo "$archive: not pure, it uses"
        sed 's/^/    /' "$work/foreign"
        status=1
    else
        echo "$archive: pure"
    fi
}

pure furrow_base
pure furrow_wire furrow_base
pure furrow_broker_core furrow_wire furrow_base
pure furrow_worker_core furrow_wire furrow_base
pure furrow_client_core furrow_wire furrow_base
exit $status
