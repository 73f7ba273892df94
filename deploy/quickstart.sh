#!/bin/sh
# From a clone to results: installs what is missing, builds the release, and runs the examples on
# worker processes of this machine.
#
#   sh deploy/quickstart.sh [DIRECTORY]    whose words are counted; /usr/share/common-licenses
#
# Works as root or with sudo, and again on a second run.
set -eu

case "${1:-}" in
-*)
    echo "usage: sh deploy/quickstart.sh [DIRECTORY]" >&2
    exit 2
    ;;
esac
directory=$(cd "${1:-/usr/share/common-licenses}" && pwd)
cd "$(dirname "$0")/.."
examples=build/release/examples
results=build/release/results

say() {
    printf '\n== %s\n' "$*"
}

# run NAME ARGUMENT...: runs an example, shows what it prints and keeps it in the results.
run() {
    name=$1
    shift
    printf '\n$ %s\n' "$examples/$name${*:+ $*}"
    "$examples/$name" "$@" >"$results/$name.txt" || {
        cat "$results/$name.txt"
        echo "$name failed" >&2
        exit 1
    }
    cat "$results/$name.txt"
}

say "Installing what is missing"
sh deploy/install-deps.sh build

say "Building the release in build/release"
cmake --preset release -DFURROW_TESTS=OFF
cmake --build --preset release

# Whatever the environment says, this shows what happens by default.
unset FURROW_EXECUTOR
mkdir -p "$results"

say "The tutorial programs, on worker processes, with their sleeps scaled down to a fiftieth"
run wait_for_future --scale 0.02
run map --scale 0.02
run reuse --scale 0.02
run process_pool --scale 0.02

say "Are these numbers prime?"
run primes

say "How many words are in the files under $directory?"
run wordcount "$directory"
echo "(find and wc count $(find "$directory" -type f -exec cat {} + | LC_ALL=C wc -w))"

say "The Mandelbrot set"
run mandelbrot "$results/mandelbrot.png"

say "Done"
cat <<END
Built: furrow-broker and furrow-worker in build/release/bin, the examples in $examples.
Ran:   the four tutorial programs, primes, wordcount over $directory and
       mandelbrot, all on local worker processes, which the library started and stopped.
Results: what each of them printed, and the picture:
END
find "$results" -type f | sort | sed 's/^/       /'
cat <<END
The same on threads, or on a fleet: add --executor threads:4 or --executor tcp://HOST:7700 to any
of them. README.md goes on from here.
END
