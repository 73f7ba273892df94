#!/bin/sh
# Measures everything again and writes docs/performance.md and its plots anew: about half an hour on two
# processors, during which nothing else should run there.
#
#     sh tests/bench/performance.sh [GROUP]...
#
# With groups only these are measured again. What BENCH_ALONE says is put before each group's command, for
# machines that are shared (say, "flock /run/lock/measuring").
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
source=$root/tests/bench
figures=$root/docs/performance/figures
mkdir -p "$figures"

[ -x "$root/build/release/bin/furrow-bench" ] || {
    cmake --preset release
    cmake --build --preset release --target furrow-bench
}
sh "$source/compare.sh" --install "$@"
all=false
if [ $# -eq 0 ]; then
    all=true
    # shellcheck disable=SC2046 # a list
    set -- $(sh "$source/compare.sh" --groups)
fi
for group in "$@"; do
    # shellcheck disable=SC2086 # may be several words, or none
    ${BENCH_ALONE:-} sh "$source/compare.sh" -o "$figures" "$group" >/dev/null || echo "$group failed" >&2
    rm -f "$figures/$group.md" # report.sh makes it again
    echo "$group is measured."
done
sh "$source/machine.sh" >"$figures/machine.md"
if $all; then
    sh "$source/instructions.sh" >"$figures/instructions.md"
fi
sh "$source/plots.sh"
sh "$source/report.sh"
