#!/bin/sh
# Writes the figures that compare.sh and instructions.sh have left in docs/performance/figures into
# docs/performance.md, between its markers. What stands outside of them is nobody's but the author's.
#
#     sh tests/bench/report.sh
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
source=$root/tests/bench
figures=$root/docs/performance/figures
doc=$root/docs/performance.md
text=$(mktemp)
trap 'rm -f "$text" "$text.doc"' EXIT

{
    cat "$figures/machine.md"
    printf '\n### The aims\n\n'
    awk -f "$source/stats.awk" -f "$source/aims.awk" "$source/aims.tsv" "$figures"/*.tsv
    if [ -f "$figures/instructions.md" ]; then
        printf '\n### Instructions a task\n\n'
        cat "$figures/instructions.md"
    fi
    printf '\n### Every group\n'
    for group in $(sh "$source/compare.sh" --groups); do
        [ -f "$figures/$group.tsv" ] || continue
        printf '\n#### %s\n\n`sh tests/bench/compare.sh %s`\n\n' "$group" "$group"
        awk -f "$source/stats.awk" -f "$source/table.awk" "$figures/$group.tsv"
    done
} >"$text"

awk -v text="$text" '
    /^<!-- figures begin/ { print; while ((getline line <text) > 0) print line; inside = 1 }
    /^<!-- figures end/ { inside = 0 }
    !inside || /^<!-- figures end/ { if ($0 !~ /^<!-- figures begin/) print }
' "$doc" >"$text.doc"
cat "$text.doc" >"$doc"
echo "docs/performance.md is written."
