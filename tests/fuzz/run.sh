#!/bin/sh
# Builds the fuzz targets and lets each run for a while, two at a time.
#
#   sh tests/fuzz/run.sh                            60 s each
#   sh tests/fuzz/run.sh --seconds 3600             an hour each
#   sh tests/fuzz/run.sh --seconds 600 broker link  these alone
#
# Inputs that reach new code are added to build/fuzz/corpus/TARGET, from where the next run goes on; those
# that show a mistake are written to build/fuzz/found, and the run fails.
#
# To take the best of them into tests/fuzz/corpus/TARGET:
#   build/fuzz/bin/fuzz_TARGET -merge=1 -set_cover_merge=1 -max_len=600 tests/fuzz/corpus/TARGET build/fuzz/corpus/TARGET
set -u
cd "$(dirname "$0")/../.." || exit 1

all="message value keys link broker worker client"
seconds=60
targets=
while [ $# -gt 0 ]; do
    case "$1" in
    --seconds)
        [ $# -ge 2 ] || exit 2
        seconds=$2
        shift
        ;;
    -*)
        echo "usage: sh tests/fuzz/run.sh [--seconds N] [TARGET...]   (targets: $all)" >&2
        exit 2
        ;;
    *) targets="$targets $1" ;;
    esac
    shift
done
targets=${targets:-$all}

programs=
for target in $targets; do
    if [ ! -f "tests/fuzz/fuzz_$target.c" ]; then
        echo "there is no target $target (there are: $all)" >&2
        exit 2
    fi
    programs="$programs fuzz_$target"
done
# shellcheck disable=SC2086 # words are meant
if ! cmake --preset fuzz -DFURROW_EXAMPLES=OFF >/dev/null ||
    ! cmake --build --preset fuzz --target $programs; then
    exit 1
fi

found=build/fuzz/found
mkdir -p "$found"

# Runs one target; its last words, or those about what it found, are printed when it ends.
fuzz() {
    corpus=build/fuzz/corpus/$1
    log=build/fuzz/fuzz_$1.log
    mkdir -p "$corpus"
    if ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
        "build/fuzz/bin/fuzz_$1" -max_total_time="$seconds" -max_len=600 -timeout=30 \
        -artifact_prefix="$found/$1-" "$corpus" "tests/fuzz/corpus/$1" >"$log" 2>&1; then
        echo "fuzz_$1: $(grep '^Done' "$log"), found nothing"
        return
    fi
    echo "fuzz_$1: FOUND SOMETHING (all of it in $log)"
    grep -vE '^#[0-9]+[[:space:]]+(NEW|REDUCE|pulse)' "$log" | tail -n 40
    return 1
}

failed=0
first=
for target in $targets; do
    fuzz "$target" &
    if [ -z "$first" ]; then
        first=$!
        continue
    fi
    wait "$first" || failed=$((failed + 1))
    first=$!
done
if [ -n "$first" ]; then
    wait "$first" || failed=$((failed + 1))
fi
echo "$failed fuzz targets found something"
[ "$failed" -eq 0 ]
