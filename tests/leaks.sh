#!/bin/sh
# Runs the examples under valgrind and fails if one leaks memory or touches what it must not.
#
#   sh tests/leaks.sh [BUILD DIRECTORY]
set -eu
cd "$(dirname "$0")/.."
build=${1:-build/release}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0

# clean EXECUTOR EXAMPLE ARGUMENT...: what is still reachable at the end counts as a leak, too.
clean() {
    executor=$1
    name=$2
    shift 2
    if valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=all \
        --errors-for-leak-kinds=all --child-silent-after-fork=yes \
        --log-file="$work/log.%p" "$build/examples/$name" --executor "$executor" "$@" \
        >"$work/out" 2>&1; then
        echo "$name on $executor: clean"
    else
        echo "$name on $executor: NOT CLEAN"
        cat "$work/out" "$work"/log.*
        status=1
    fi
    rm -f "$work"/log.*
}

mkdir "$work/words"
cp -r docs README.md "$work/words/"
for executor in threads:2 processes:2; do
    clean "$executor" wait_for_future --scale 0.01
    clean "$executor" map --scale 0.001
    clean "$executor" reuse --scale 0.001
    clean "$executor" process_pool --scale 0.001
    clean "$executor" primes 1000003 1000004 2147483647
    clean "$executor" wordcount "$work/words"
    clean "$executor" mandelbrot "$work/picture.png" 120 80
done
exit $status
