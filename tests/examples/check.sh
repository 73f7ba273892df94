#!/bin/sh
# Runs one example on one executor and checks what it prints.
#
#   sh check.sh BUILD EXAMPLE EXECUTOR
#
# EXECUTOR is a URL, or `tcp` or `ipc` for a broker of that transport with two workers that serve
# BUILD/examples/tasks.so, started here and stopped at the end.
set -eu

build=$1
example=$2
executor=$3
programs=$build/examples

work=$(mktemp -d)
broker=
worker=
clean_up() {
    # The worker first: it then has a broker to say goodbye to.
    for pid in $worker $broker; do
        kill "$pid" 2>/dev/null || continue
        wait "$pid" || :
    done
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

fail() {
    echo "$example on $executor: $*" >&2
    for log in "$work"/*.log; do
        [ ! -s "$log" ] || { echo "--- $log" && cat "$log"; } >&2
    done
    exit 1
}

# expect FILE: the expected text is on stdin.
expect() {
    diff -u - "$1" || fail "printed something else (+) than it should (-)"
}

# with_clock FILE: its lines, with "| t" for the elapsed seconds, which must be a number.
with_clock() {
    sed 's/ | [0-9][0-9]*\.[0-9][0-9]*$/ | t/' "$1"
}

# at_least FILE SECONDS: the last line's elapsed seconds.
at_least() {
    tail -n 1 "$1" | awk -v seconds="$2" '{ exit $NF < seconds }' ||
        fail "was done before its sleeps can have been"
}

start_fleet() {
    case $1 in
    ipc) listen=ipc://$work/broker ;;
    tcp) listen="tcp://127.0.0.1:*" ;;
    esac
    "$build/bin/furrow-broker" --listen "$listen" --port-file "$work/port" \
        >"$work/broker.log" 2>&1 &
    broker=$!
    until [ -s "$work/port" ]; do
        kill -0 "$broker" 2>/dev/null || fail "the broker has not come up"
        sleep 0.05
    done
    executor=$(cat "$work/port")
    "$build/bin/furrow-worker" --connect "$executor" --module "$programs/tasks.so" --processes 2 \
        >"$work/worker.log" 2>&1 &
    worker=$!
}

run() {
    program=$1
    shift
    "$programs/$program" --executor "$executor" "$@"
}

numbers() {
    seq "$1" "$2" | sed "s/.*/'foo-&'/" | paste -s -d , | sed 's/,/, /g'
}

map_lines() {
    echo "map generator created | t"
    echo "waiting for map results... | t"
    echo "map results: [$(numbers "$1" "$2")] | t"
}

check_wait_for_future() {
    run wait_for_future --scale 0.02 >"$work/out"
    with_clock "$work/out" >"$work/lines"
    expect "$work/lines" <<-END
	future created | t
	waiting for future... | t
	future result: foo | t
	END
    at_least "$work/out" 0.1
}

check_map() {
    run map --scale 0.01 >"$work/out"
    with_clock "$work/out" >"$work/lines"
    map_lines 1 9 | expect "$work/lines"
    at_least "$work/out" 0.1
}

check_reuse() {
    run reuse --scale 0.02 >"$work/out"
    with_clock "$work/out" >"$work/lines"
    { map_lines 1 9 && map_lines 10 19; } | expect "$work/lines"
    at_least "$work/out" 0.08
}

check_process_pool() {
    run process_pool --scale 0.02 >"$work/out"
    with_clock "$work/out" >"$work/lines"
    map_lines 1 9 | expect "$work/lines"
    at_least "$work/out" 0.06
}

check_primes() {
    run primes >"$work/out"
    expect "$work/out" <<-END
	112272535095293 is prime: true
	112582705942171 is prime: true
	112272535095293 is prime: true
	115280095190773 is prime: true
	115797848077099 is prime: true
	1099726899285419 is prime: false
	END
    run primes 0 1 2 3 4 9 25 1000003 9223372036854775807 >"$work/out"
    expect "$work/out" <<-END
	0 is prime: false
	1 is prime: false
	2 is prime: true
	3 is prime: true
	4 is prime: false
	9 is prime: false
	25 is prime: false
	1000003 is prime: true
	9223372036854775807 is prime: false
	END
}

# words DIR STATUS: compares with find, cat and wc.
words() {
    status=0
    run wordcount "$1" >"$work/out" 2>"$work/errors.log" || status=$?
    [ "$status" -eq "$2" ] || fail "wordcount $1 ended with $status, not $2"
    find "$1" -type f -exec cat {} + 2>/dev/null | LC_ALL=C wc -w | expect "$work/out"
}

check_wordcount() {
    words "${WORDCOUNT_DIR:-/usr/share/common-licenses}" 0
    "$build/tests/examples/make_tree" "$work/tree" 1 10500
    words "$work/tree" 0
    words "$work/tree/odd/two words" 0
    words "$work/tree/odd/up" 0
    words "$work/tree/odd/up/" 0
    words "$work/tree/nothing" 1
}

check_mandelbrot() {
    run mandelbrot "$work/here.png" 300 200 >"$work/out"
    echo "$work/here.png: 300 x 200 pixels in 20 tiles" | expect "$work/out"
    "$programs/mandelbrot" --executor threads:1 "$work/reference.png" 300 200 >/dev/null
    cmp "$work/reference.png" "$work/here.png" || fail "the picture differs from that of threads:1"
    [ "$(head -c 8 "$work/here.png" | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ] ||
        fail "the picture is no PNG"
}

case $executor in
tcp | ipc) start_fleet "$executor" ;;
esac
"check_$example"
