#!/bin/sh
# Three hosts, each a network namespace with an address of its own, joined by a switch whose cables are
# bad (lossy_switch, which does what netem does in kernels that have it):
#
#   hub   10.77.0.1  the broker
#   farm  10.77.0.2  a worker machine
#   desk  10.77.0.3  a second worker machine, and the client
#
#   namespaces.sh BIN SWITCH CLIENT MODULE     as ctest calls it
#
# BIN has furrow-broker and furrow-worker. Needs root, iproute2 and /dev/net/tun; exits with 77, which
# ctest takes for "skipped", where there are none, and says what is missing. Whatever it has made is
# gone at its end.
set -u

if [ $# -ne 4 ]; then
    echo "usage: $0 BIN SWITCH CLIENT MODULE" >&2
    exit 2
fi
bin=$1
switch=$2
client=$3
module=$4

skip() {
    echo "skipped, nothing was tested: $1"
    exit 77
}
[ "$(id -u)" -eq 0 ] || skip "only root can make network namespaces"
command -v ip >/dev/null || skip "iproute2 is not installed"
[ -c /dev/net/tun ] || skip "there is no /dev/net/tun"

work=$(mktemp -d /tmp/e2e-furrow-net-XXXXXX) || exit 1
prefix=fe2e$$
hub=$prefix-hub
farm=$prefix-farm
desk=$prefix-desk
failed=0
# Those that run now; empty when they have been waited for.
switch_pid=
broker_pid=
farm_worker=
desk_worker=
client_pid=

# shellcheck disable=SC2317 # it is called by the traps
cleanup() {
    trap - EXIT INT TERM
    exec 3>&- # the switch ends with its input
    for pid in $client_pid $farm_worker $desk_worker $broker_pid; do
        kill -KILL "$pid" 2>/dev/null
    done
    wait
    for space in $hub $farm $desk; do
        ip netns del "$space" 2>/dev/null
    done
    rm -rf "$work"
}
trap cleanup EXIT
trap 'cleanup; exit 1' INT TERM

for space in $hub $farm $desk; do
    ip netns add "$space" 2>"$work/said" || skip "ip netns add: $(cat "$work/said")"
done
mkfifo "$work/commands"
"$switch" $hub $farm $desk <"$work/commands" >"$work/switch" &
switch_pid=$!
exec 3>"$work/commands"
tries=0
until grep -q ready "$work/switch"; do
    tries=$((tries + 1))
    kill -0 $switch_pid 2>/dev/null || skip "no interfaces in the namespaces (see above)"
    [ $tries -lt 100 ] || exit 1
    sleep 0.05
done

number=0
for space in $hub $farm $desk; do
    number=$((number + 1))
    ip netns exec "$space" ip link set lo up
    ip netns exec "$space" ip address add 10.77.0.$number/24 dev eth0
    ip netns exec "$space" ip link set eth0 up
done

export FURROW_E2E_BOOK="$work/book"
url=tcp://10.77.0.1:7700
heartbeat=0.5
silence=3

network() {
    for command in "$@"; do
        echo "$command" >&3
    done
}

# Each sets a variable, because a process that is started in $(...) is not ours to wait for.
start_broker() {
    ip netns exec $hub "$bin/furrow-broker" --listen $url --insecure --heartbeat $heartbeat \
        --silence $silence --log-level error &
    broker_pid=$!
}
start_worker() { # NAMESPACE
    ip netns exec "$1" "$bin/furrow-worker" --connect $url --module "$module" --processes 2 \
        --threads 8 --log-level error &
    worker_pid=$!
}

# scenario NAME TASKS MICROSECONDS: runs a client, and meanwhile what `during` does.
scenario() {
    name=$1
    shift
    ip netns exec $desk timeout 130 "$client" $url "$@" >"$work/out" 2>"$work/err" &
    client_pid=$!
    during
    if wait $client_pid; then
        result=ok
    else
        result=FAILED
        failed=1
        tail -20 "$work/err"
    fi
    client_pid=
    sed "s/^/$name./" "$work/out"
    echo "$name: $result"
}

start_broker
start_worker $farm
farm_worker=$worker_pid
start_worker $desk
desk_worker=$worker_pid

during() { :; }
scenario clean 2000 2000

network "loss 5" "delay 50 10" "reorder 25"
scenario loss_5_percent_delay_50_ms_reordered 4000 5000
network "loss 0" "delay 0 0" "reorder 0"

# 32 threads: for 16 s if nothing happens.
during() {
    sleep 2
    network "cut 1"
    sleep 10
    network "heal 1"
}
scenario a_worker_machine_is_cut_off_for_10_s 5000 100000

during() {
    sleep 2
    network "cut 0"
    sleep 10
    network "heal 0"
}
scenario the_broker_is_cut_off_for_10_s 2500 100000

# Half open: one direction is lost, the other goes on; neither end is told.
during() {
    sleep 1
    network "mute 1"
    sleep 5
    network "heal 1"
    sleep 1
    network "deaf 1"
    sleep 5
    network "heal 1"
}
scenario a_worker_machine_is_half_open 4000 100000

# Half open: it dies while it is cut off, so that no connection is ever closed; another takes its place.
during() {
    sleep 1
    network "cut 1"
    kill -KILL $farm_worker
    wait $farm_worker
    sleep 1
    network "heal 1"
    start_worker $farm
    farm_worker=$worker_pid
}
scenario a_worker_machine_dies_while_cut_off 2000 50000

# The same with the broker.
during() {
    sleep 1
    network "cut 0"
    kill -KILL $broker_pid
    wait $broker_pid
    sleep 1
    network "heal 0"
    start_broker
}
scenario the_broker_dies_while_cut_off 2000 50000

for pid in $farm_worker $desk_worker $broker_pid; do
    kill -TERM "$pid"
    tries=0
    while kill -0 "$pid" 2>/dev/null && [ $tries -lt 200 ]; do
        tries=$((tries + 1))
        sleep 0.05
    done
    if kill -0 "$pid" 2>/dev/null; then
        echo "a daemon did not stop within 10 s: FAILED"
        failed=1
    fi
done
exec 3>&-
wait $switch_pid
grep -v ready "$work/switch"
for space in $hub $farm $desk; do
    left=$(ip netns pids "$space")
    if [ -n "$left" ]; then
        echo "processes are left in $space: $left: FAILED"
        failed=1
    fi
done
exit $failed
