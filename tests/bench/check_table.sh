#!/bin/sh
# What compare.sh, table.awk, aims.awk and series.awk make of given figures: medians, ratios of pairs,
# spreads, what was not measured. A stand-in for furrow-bench prints the figures.
#
#     sh tests/bench/check_table.sh
set -u
source=$(cd "$(dirname "$0")" && pwd) || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
bad=0

# expect WHAT LINE FILE: the file has exactly that line.
expect() {
    grep -qxF -e "$2" "$3" || {
        echo "not ok: $1: no line \"$2\" in:" >&2
        cat "$3" >&2
        bad=1
    }
}

figures() {
    awk 'BEGIN { OFS = "\t" } { print $1, $2, $3, $4 }' <<'END'
1 chain.ipc.noop 500000 tasks/s
1 processes.noop 1000000 tasks/s
1 processes.noop.cpu 0.4 us
1 peer.noop 10 tasks/s
2 chain.ipc.noop 400000 tasks/s
2 processes.noop 4000000 tasks/s
2 processes.noop.cpu 0.9 us
3 chain.ipc.noop 100000 tasks/s
3 processes.noop 300000 tasks/s
3 processes.noop.cpu 0.45 us
3 chain.tcp.noop 7 tasks/s
END
    echo "# peer noop: it sulks (run 2, status 1)"
}
figures >"$work/noop.tsv"

awk -f "$source/stats.awk" -f "$source/table.awk" "$work/noop.tsv" >"$work/table"
expect "median and spread" "| processes.noop | 1,000,000 | 300,000 .. 4,000,000 | tasks/s | 3 |" "$work/table"
expect "an even count has the mean of its middle" "| peer.noop | 10 | 10 .. 10 | tasks/s | 1 |" "$work/table"
# By run 2, 10 and 3; the ratio of the medians would be 2.5.
expect "ratios within runs" "| processes.noop / chain.ipc.noop | 3 | 2 .. 10 |" "$work/table"
expect "a peer that failed in run 2" "| processes.noop / peer.noop | 100,000 | 100,000 .. 100,000 |" "$work/table"
expect "what was not measured" "Not measured: peer noop: it sulks (run 2, status 1)" "$work/table"
if grep -q "/ chain.tcp.noop" "$work/table"; then
    echo "not ok: processes: is held against another transport" >&2
    bad=1
fi

{
    printf 'fast enough\tnoop\tprocesses.noop\tchain.ipc.noop\t>=\t3\tx\n'
    printf 'too slow\tnoop\tprocesses.noop\tchain.ipc.noop\t>=\t3.1\tx\n'
    printf 'cheap enough\tnoop\tprocesses.noop.cpu\t-\t<=\t0.45\tus\n'
    printf 'not there\tnoop\ttcp.noop\tchain.tcp.noop\t>=\t1\tx\n'
} >"$work/aims"
awk -f "$source/stats.awk" -f "$source/aims.awk" "$work/aims" "$work/noop.tsv" >"$work/met"
against="1,000,000 tasks/s | 400,000 tasks/s | \`noop\` |"
expect "an aim that is met" "| fast enough | ≥ 3 x | 3 x | 2 .. 10 | yes | $against" "$work/met"
expect "an aim that is not" "| too slow | ≥ 3.1 x | 3 x | 2 .. 10 | **no** | $against" "$work/met"
expect "an absolute aim" "| cheap enough | ≤ 0.45 us | 0.45 us | 0.4 .. 0.9 | yes | 0.45 us |  | \`noop\` |" "$work/met"
expect "an aim without figures" "| not there | ≥ 1 x | not measured | | | | | \`noop\` |" "$work/met"
expect "the count" "2 of 4 aims are met." "$work/met"

awk 'BEGIN { OFS = "\t"
    print 1, "a.echo_2kib", 1000, "tasks/s"; print 2, "a.echo_2kib", 3000, "tasks/s"
    print 1, "a.echo_1mib", 0.5, "GB/s"; print 1, "a.echo_2kib.more", 9, "us" }' |
    awk -v prefix=a.echo_ -f "$source/stats.awk" -f "$source/series.awk" | sort -n >"$work/series"
expect "a series in MB/s" "2048 4.096 2.048 6.144" "$work/series"
expect "a series in GB/s" "1048576 500 500 500" "$work/series"

# compare.sh itself: in turn, so many times, past one case that hangs and one that this build lacks.
mkdir -p "$work/build/bin"
cat >"$work/build/bin/furrow-bench" <<'END'
#!/bin/sh
case "$*" in
--list) printf 'tcp.noop\ttasks/s\nprocesses.metg50\tus\ntcp.metg50\tus\n' ;;
tcp.metg50) sleep 30 ;;
*) printf '%s\t%d\tus\n' "$1" 2 && echo "$*" >>"$0.order" ;;
esac
END
chmod +x "$work/build/bin/furrow-bench"
TMPDIR=$work sh "$source/compare.sh" -n 3 -t 1 -b "$work/build" -o "$work/out" metg curve >"$work/said"
expect "three runs" "| processes.metg50 | 2 | 2 .. 2 | us | 3 |" "$work/out/metg.md"
expect "one that hangs" "Not measured: ours tcp.metg50: took more than 1 s (run 1, status 124)" \
    "$work/out/metg.md"
expect "one that is missing" "Not measured: tcp_curve.noop: this build does not have it" \
    "$work/out/curve.md"
expect "lines of every run" "3	processes.metg50	2	us" "$work/out/metg.tsv"
if [ -n "$(find "$work" -name 'furrow-compare.*')" ]; then
    echo "not ok: it leaves a directory behind" >&2
    bad=1
fi
if sh "$source/compare.sh" no-such-group 2>/dev/null; then
    echo "not ok: a group that is none is taken for one" >&2
    bad=1
fi

# Every group that an aim names exists.
groups=" $(sh "$source/compare.sh" --groups) "
for group in $(grep -v '^#' "$source/aims.tsv" | cut -f 2 | sort -u); do
    case $groups in
    *" $group "*) ;;
    *)
        echo "not ok: aims.tsv names the group $group" >&2
        bad=1
        ;;
    esac
done
[ $bad -eq 0 ] && echo ok
exit $bad
