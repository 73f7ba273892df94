#!/bin/sh
# Draws docs/performance/*.png with gnuplot from the figures that compare.sh has left in
# docs/performance/figures: medians with the lowest and highest run.
#
#     sh tests/bench/plots.sh [-f FIGURES] [-o DIRECTORY]
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
source=$root/tests/bench
. "$source/install.sh"
figures=$root/docs/performance/figures
out=$root/docs/performance
while [ $# -ge 2 ]; do
    case $1 in
    -f) figures=$2 ;;
    -o) out=$2 ;;
    *) break ;;
    esac
    shift 2
done
[ $# -eq 0 ] || {
    echo "usage: sh tests/bench/plots.sh [-f FIGURES] [-o DIRECTORY]" >&2
    exit 2
}
command -v gnuplot >/dev/null || packages_install gnuplot-nox
data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT
mkdir -p "$out"

# series GROUP SYSTEM CASE: one file of x, median, lowest, highest for names SYSTEM.CASE_<x>.
series() {
    [ -f "$figures/$1.tsv" ] || return 0
    awk -v prefix="$2.$3_" -f "$source/stats.awk" -f "$source/series.awk" "$figures/$1.tsv" |
        sort -n >"$data/$3.$2"
    [ -s "$data/$3.$2" ] || rm "$data/$3.$2"
}

for system in processes tcp; do
    series queued $system queued
    series lengths $system efficiency
done
for system in gearmand beanstalkd cpython_processes; do
    series depths $system queued
done
for system in processes cpython_processes; do
    series workers $system workers
done
for system in processes chain.ipc cpython_processes; do
    series payloads $system echo
done
for system in tcp chain.tcp gearmand beanstalkd; do
    series payloads_tcp $system echo
done
for system in cpython_processes gearmand dask; do
    series lengths_peers $system efficiency
done
gnuplot -e "data='$data'; out='$out'" "$source/plots.gp"
