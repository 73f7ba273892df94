#!/bin/sh
# Measures Furrow beside what else does its work, both on this machine and in turn (A B A B ...), and
# prints medians, their spread and ratios.
#
#     sh tests/bench/compare.sh [OPTION]... [GROUP]...
#
#     --list         says which groups there are, and what is in them
#     --install      only installs the peers' packages, so that the measuring need not
#     -n PAIRS       how often each is run (5)
#     -t SECONDS     how long one measurement may take (60)
#     -b DIRECTORY   the build with furrow-bench (build/release)
#     -o DIRECTORY   where GROUP.tsv, every run's line, and GROUP.md, the table, go (build/bench)
#
# Without a group it does all of them, about a quarter of an hour. Each takes less than two minutes with
# five pairs. Peers come as Debian packages, those that are missing are installed (root or sudo); one that
# can't be had, fails or takes too long is said to be so, and the rest goes on. Their daemons
# listen on loopback only, and end with the group.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
source=$root/tests/bench
. "$source/install.sh"
. "$source/peers/peers.sh"

pairs=5
build=$root/build/release
out=$root/build/bench
limit=60

# Each line is one measurement, PEER CASE...; "ours" is furrow-bench. They run in this order, again and
# again, so that what is to be compared is measured right after one another.
groups="noop rtt large cpython map gearmand beanstalkd mpi4py dask celery rq parallel pools metg queued
depths workers payloads payloads_tcp lengths lengths_peers connections memory fair mixed curve"

group() {
    case $1 in
    noop) # the floor, raw libzmq, beside us
        echo "ours chain.ipc.noop
              ours processes.noop
              ours chain.tcp.noop
              ours tcp.noop
              ours chain.ipc.noop_100
              ours chain.tcp.noop_100" ;;
    rtt)
        echo "ours --scale 0.3 chain.ipc.rtt_p50
              ours --scale 0.3 processes.rtt_p50
              ours --scale 0.3 chain.tcp.rtt_p50
              ours --scale 0.3 tcp.rtt_p50" ;;
    large)
        echo "ours --scale 0.5 chain.ipc.echo_1mib
              ours --scale 0.5 processes.echo_1mib
              ours --scale 0.5 chain.tcp.echo_1mib
              ours --scale 0.5 tcp.echo_1mib" ;;
    cpython)
        echo "ours processes.noop
              cpython_processes noop
              cpython_threads noop
              ours --scale 0.2 processes.rtt_p50
              cpython_processes rtt_p50
              cpython_threads rtt_p50" ;;
    map)
        echo "ours processes.map_100
              cpython_processes map_100" ;;
    gearmand | beanstalkd)
        echo "ours tcp.noop
              $1 noop
              ours --scale 0.2 tcp.rtt_p50
              $1 rtt_p50" ;;
    mpi4py)
        echo "ours processes.noop
              mpi4py noop rtt_p50 map_100
              ours --scale 0.2 processes.rtt_p50" ;;
    dask | celery | rq)
        echo "ours tcp.noop
              ours --scale 0.2 tcp.rtt_p50
              $1 noop rtt_p50" ;;
    parallel)
        echo "ours processes.noop
              parallel noop" ;;
    pools)
        echo "ours threads.noop
              tbb noop
              textbook noop
              libuv noop
              glib noop
              ours threads.rtt_p50" ;;
    metg)
        echo "ours processes.metg50
              ours tcp.metg50" ;;
    queued) # what the broker does with a deep queue
        echo "ours tcp.queued_1000
              ours tcp.queued_10000
              ours tcp.queued_100000
              ours tcp.queued_1000000
              ours processes.queued_1000
              ours processes.queued_10000
              ours processes.queued_100000
              ours processes.queued_1000000" ;;
    depths) # and what the peers do
        echo "gearmand queued_1000
              gearmand queued_10000
              gearmand queued_50000
              beanstalkd queued_1000
              beanstalkd queued_10000
              beanstalkd queued_50000
              cpython_processes queued_1000
              cpython_processes queued_10000
              cpython_processes queued_50000" ;;
    workers)
        echo "ours --scale 0.3 processes.workers_1
              ours --scale 0.3 processes.workers_2
              ours --scale 0.3 processes.workers_4
              ours --scale 0.3 processes.workers_8
              ours --scale 0.3 processes.workers_16
              cpython_processes workers_1 workers_2 workers_4 workers_8 workers_16" ;;
    payloads)
        echo "ours --scale 0.2 chain.ipc.echo_1kib chain.ipc.echo_16kib chain.ipc.echo_128kib chain.ipc.echo_1mib
              ours --scale 0.2 processes.echo_1kib processes.echo_16kib processes.echo_128kib processes.echo_1mib
              cpython_processes echo_1kib echo_16kib echo_128kib echo_1mib" ;;
    payloads_tcp)
        echo "ours --scale 0.2 chain.tcp.echo_1kib chain.tcp.echo_16kib chain.tcp.echo_128kib chain.tcp.echo_1mib
              ours --scale 0.2 tcp.echo_1kib tcp.echo_16kib tcp.echo_128kib tcp.echo_1mib
              gearmand echo_1kib echo_16kib echo_128kib
              beanstalkd echo_1kib echo_16kib echo_128kib" ;;
    lengths)
        echo "ours processes.efficiency_*
              ours tcp.efficiency_*" ;;
    lengths_peers)
        echo "cpython_processes efficiency_10us efficiency_30us efficiency_100us efficiency_1000us efficiency_10000us
              gearmand efficiency_10us efficiency_30us efficiency_100us efficiency_1000us efficiency_10000us
              dask efficiency_1000us efficiency_10000us" ;;
    connections)
        echo "ours tcp.workers_2
              ours tcp.workers_10
              ours tcp.workers_100
              ours tcp.workers_1000
              ours tcp.clients_1
              ours tcp.clients_10
              ours --scale 0.3 tcp.clients_100" ;;
    memory)
        echo "ours tcp.bytes_per_queued
              gearmand bytes_per_queued
              beanstalkd bytes_per_queued" ;;
    fair)
        echo "ours tcp.fair_p99" ;;
    mixed)
        echo "ours processes.mixed_idle
              ours tcp.mixed_idle" ;;
    curve)
        echo "ours tcp.noop
              ours tcp_curve.noop" ;;
    esac | sed 's/^ *//'
}

usage() {
    sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "$0"
}

peers_of() {
    group "$1" | sed 's/ .*//' | sort -u | grep -vx ours
}

# start_peers GROUP: those that can't be used are remembered with the reason.
start_peers() {
    unusable=
    for peer in $(peers_of "$1"); do
        eval "packages=\$${peer}_packages"
        # shellcheck disable=SC2154,SC2086 # set by eval; a list
        if ! packages_install $packages 2>>"$work/install.log"; then
            unusable="$unusable $peer"
            echo "# $peer: its packages can't be installed: $packages" >>"$raw"
        elif ! "${peer}_start" 2>"$work/start.log"; then
            unusable="$unusable $peer"
            echo "# $peer: it does not start: $(tail -1 "$work/start.log")" >>"$raw"
        fi
    done
}

# bounded COMMAND...: runs a function or program for at most $limit seconds; then it ends it and all that it
# has started.
bounded() {
    rm -f "$work/late"
    "$@" >"$work/lines" 2>"$work/errors" </dev/null &
    pid=$!
    (
        sleep "$limit" &
        sleeper=$!
        trap 'kill $sleeper; exit' TERM
        wait $sleeper && : >"$work/late" && end_family $pid
    ) &
    watchdog=$!
    measuring="$pid $watchdog"
    wait $pid 2>/dev/null
    status=$?
    measuring=
    kill $watchdog 2>/dev/null
    wait $watchdog 2>/dev/null
    if [ -e "$work/late" ]; then
        echo "took more than $limit s" >"$work/errors"
        return 124
    fi
    return $status
}

# measure RUN PEER CASE...: appends RUN<TAB>name<TAB>value<TAB>unit to the group's lines.
measure() {
    run=$1
    peer=$2
    shift 2
    case " $unusable " in *" $peer "*) return ;; esac
    if [ "$peer" = ours ]; then
        bounded "$build/bin/furrow-bench" "$@"
    else
        bounded "${peer}_run" "$@"
    fi
    status=$?
    awk -F '\t' -v run="$run" -v OFS='\t' 'NF == 3 { print run, $0 }' "$work/lines" >>"$raw"
    if [ $status -ne 0 ]; then
        echo "# $peer $*: $(tail -1 "$work/errors") (run $run, status $status)" >>"$raw"
        failed="$failed|$peer $*|"
    fi
}

# Cases that this build does not have (CURVE may be left out of it) are no failure.
is_known() {
    [ "$1" != ours ] && return 0
    shift
    for case in "$@"; do
        case $case in
        --scale | [0-9]* | *\*) ;;
        *) "$build/bin/furrow-bench" --list | cut -f 1 | grep -qxF "$case" || return 1 ;;
        esac
    done
}

run_group() {
    raw=$work/$1.tsv
    failed=
    group "$1" >"$work/items"
    : >"$raw"
    start_peers "$1"
    round=1
    while [ "$round" -le "$pairs" ]; do
        while IFS= read -r item <&3; do
            case $failed in *"|$item|"*) continue ;; esac
            set -f # the patterns are furrow-bench's
            # shellcheck disable=SC2086 # words
            if is_known $item; then
                measure "$round" $item
            elif [ "$round" -eq 1 ]; then
                echo "# ${item#ours }: this build does not have it" >>"$raw"
            fi
            set +f
        done 3<"$work/items"
        round=$((round + 1))
    done
    peers_stop
    mkdir -p "$out"
    cp "$raw" "$out/$1.tsv"
    printf '\n## %s\n\n' "$1"
    awk -f "$source/stats.awk" -f "$source/table.awk" "$raw" | tee "$out/$1.md"
}

only_install=false
while [ $# -gt 0 ]; do
    case $1 in
    --list)
        for name in $groups; do
            printf '%s:\n%s\n' "$name" "$(group "$name" | sed 's/^/    /')"
        done
        exit 0
        ;;
    --groups)
        echo $groups
        exit 0
        ;;
    --install) only_install=true ;;
    -n) pairs=$2 && shift ;;
    -t) limit=$2 && shift ;;
    -b) build=$(cd "$2" && pwd) && shift ;;
    -o) mkdir -p "$2" && out=$(cd "$2" && pwd) && shift ;;
    -h | --help)
        usage
        exit 0
        ;;
    -*)
        usage >&2
        exit 2
        ;;
    *) break ;;
    esac
    shift
done
# shellcheck disable=SC2086 # a list
[ $# -gt 0 ] || set -- $groups

for name in "$@"; do
    if [ -z "$(group "$name")" ]; then
        echo "compare.sh: there is no group \"$name\"; --list says which there are" >&2
        exit 2
    fi
done
if $only_install; then
    for name in "$@"; do
        for peer in $(peers_of "$name"); do
            eval "packages=\$${peer}_packages"
            # shellcheck disable=SC2086 # a list
            packages_install $packages || echo "$peer can't be installed" >&2
        done
    done
    exit 0
fi
if [ ! -x "$build/bin/furrow-bench" ]; then
    echo "compare.sh: $build/bin/furrow-bench is not there; cmake --preset release && cmake" \
        "--build --preset release --target furrow-bench" >&2
    exit 1
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/furrow-compare.XXXXXX") || exit 1
measuring=
trap 'for pid in $measuring; do end_family "$pid"; done; peers_stop; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
for name in "$@"; do
    run_group "$name"
done
