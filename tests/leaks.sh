#!/bin/sh
# Runs the examples under valgrind, on every executor, and the broker and the worker that serve them;
# fails if one of them leaks memory or touches what it must not.
#
#   sh tests/leaks.sh [BUILD DIRECTORY]
set -eu
cd "$(dirname "$0")/.."
build=${1:-build/release}

work=$(mktemp -d)
broker=
worker=
clean_up() {
    for pid in $worker $broker; do
        kill -KILL "$pid" 2>/dev/null || :
    done
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM
status=0

# What is still reachable at the end counts as a leak, too. It takes the place of the shell that calls
# it, so that $! of one in the background is valgrind's.
watched() {
    log=$1
    shift
    exec valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=all \
        --errors-for-leak-kinds=all --suppressions=tests/valgrind.supp --log-file="$log" "$@"
}

# verdict STATUS NAME: valgrind also says which system calls it doesn't know; that is no error.
verdict() {
    if [ "$1" -eq 0 ]; then
        echo "$2: clean"
    else
        echo "$2: NOT CLEAN, or failed with $1"
        cat "$work/out"
        grep -v '^--' "$work"/log.* || :
        status=1
    fi
    rm -f "$work"/log.*
}

# clean EXECUTOR EXAMPLE ARGUMENT...
clean() {
    executor=$1
    name=$2
    shift 2
    code=0
    (watched "$work/log.%p" "$build/examples/$name" --executor "$executor" "$@") \
        >"$work/out" 2>&1 || code=$?
    verdict "$code" "$name on $executor"
}

all_examples() {
    clean "$1" wait_for_future --scale 0.01
    clean "$1" map --scale 0.001
    clean "$1" reuse --scale 0.001
    clean "$1" process_pool --scale 0.001
    clean "$1" primes 1000003 1000004 2147483647
    clean "$1" wordcount "$work/words"
    clean "$1" mandelbrot "$work/picture.png" 120 80
}

# ended PID NAME: asks it to end, and looks how it did.
ended() {
    code=0
    kill "$1"
    wait "$1" || code=$?
    cp "$work/$2.out" "$work/out"
    cp "$work/$2.log" "$work/log.$2"
    verdict "$code" "furrow-$2"
}

mkdir "$work/words"
cp -r docs README.md "$work/words/"

all_examples threads:2
all_examples processes:2

watched "$work/broker.log" "$build/bin/furrow-broker" --listen "tcp://127.0.0.1:*" \
    --port-file "$work/port" >"$work/broker.out" 2>&1 &
broker=$!
until [ -s "$work/port" ]; do
    kill -0 "$broker"
    sleep 0.1
done
watched "$work/worker.log" "$build/bin/furrow-worker" --connect "$(cat "$work/port")" \
    --module "$build/examples/tasks.so" --processes 2 >"$work/worker.out" 2>&1 &
worker=$!
all_examples "$(cat "$work/port")"
ended $worker worker
worker=
ended $broker broker
broker=
exit $status
