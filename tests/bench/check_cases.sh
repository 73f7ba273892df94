#!/bin/sh
# Runs every case of furrow-bench at a tiny scale: each must print lines of name<TAB>value<TAB>unit with a
# positive number under the name that --list says, and the names that docs/performance.md is made from must
# all come out. Nothing is said about how fast. A case that failed is tried again, since a busy machine
# may be of no use for one (no task is efficient then).
#
#     sh tests/bench/check_cases.sh FURROW_BENCH
set -u
bench=$1
source=$(cd "$(dirname "$0")" && pwd) || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
bad=0

complain() {
    echo "not ok: $*" >&2
    bad=1
}

"$bench" --list >"$work/list" || complain "--list failed"
while IFS="$(printf '\t')" read -r name unit; do
    for try in 1 2 3; do
        "$bench" --scale 0.001 "$name" >"$work/lines" 2>"$work/errors" && break
        echo "# $name failed at try $try: $(cat "$work/errors")"
    done
    awk -F '\t' -v name="$name" -v unit="$unit" '
        NF != 3 || $2 !~ /^[0-9.e+-]+$/ || $2 < 0 { print "malformed: " $0; bad = 1 }
        index($1, name) != 1 && $1 !~ /_p99$/ { print "a foreign name: " $0; bad = 1 }
        $1 == name && $2 > 0 && $3 == unit { found = 1 }
        END { if (!found) print "no positive value in " unit; exit bad || !found }
    ' "$work/lines" >"$work/verdict" || complain "$name: $(cat "$work/verdict" "$work/errors")"
    cat "$work/lines" >>"$work/all"
done <"$work/list"

while read -r name unit; do
    awk -F '\t' -v name="$name" -v unit="$unit" \
        '$1 == name && $3 == unit { found = 1 } END { exit !found }' "$work/all" ||
        complain "$name in $unit does not come out"
done <"$source/names.txt"

# --json: an array of objects with the same names, also for several cases and patterns.
"$bench" --scale 0.001 --json "threads.rtt*" chain.ipc.noop >"$work/json" || complain "--json failed"
tr -d ' \n' <"$work/json" | grep -qE \
    '^\[(\{"name":"[a-z0-9_.]+","value":[0-9.e+-]+,"unit":"[^"]+"\},?)+\]$' ||
    complain "--json: $(cat "$work/json")"
for name in threads.rtt_p50 chain.ipc.noop; do
    grep -q "\"$name\"" "$work/json" || complain "--json does not have $name"
done

if "$bench" no.such.case 2>/dev/null; then
    complain "a name that is none is taken for one"
fi
[ $bad -eq 0 ] && echo "$(wc -l <"$work/list") cases, $(wc -l <"$work/all") lines"
exit $bad
