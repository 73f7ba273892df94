#!/bin/sh
# What the examples make of their command line: sh options.sh BUILD
set -eu
programs=$1/examples
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# ends STATUS TEXT COMMAND...: the command's exit status, and words that it must say.
ends() {
    wanted=$1
    text=$2
    shift 2
    status=0
    "$@" >"$work/out" 2>&1 || status=$?
    if [ "$status" -ne "$wanted" ] || ! grep -qF -e "$text" "$work/out"; then
        echo "$* ended with $status, not $wanted, or did not say \"$text\":" >&2
        cat "$work/out" >&2
        exit 1
    fi
}

cd "$work"
for example in wait_for_future map reuse process_pool primes wordcount mandelbrot; do
    ends 0 "usage:" "$programs/$example" --help
    ends 2 "usage:" "$programs/$example" --nonsense
    ends 2 "not a factor" "$programs/$example" --scale x
done
ends 2 "usage:" "$programs/map" operand
ends 2 "not a number" "$programs/primes" 12x
ends 2 "not a number" "$programs/primes" 9223372036854775808
ends 2 "give one directory" "$programs/wordcount"
ends 2 "not a number" "$programs/mandelbrot" x.png 0 100
ends 1 "can't open the executor" "$programs/primes" --executor nonsense:3
ends 1 "can't open the executor" "$programs/primes" --executor threads:0

# The option wins over the environment, and the environment over the default.
ends 0 "7 is prime: true" env FURROW_EXECUTOR=threads:1 "$programs/primes" 7
ends 1 "can't open the executor" env FURROW_EXECUTOR=nonsense: "$programs/primes" 7
ends 0 "7 is prime: true" env FURROW_EXECUTOR=nonsense: "$programs/primes" --executor threads:1 7
ends 0 "7 is prime: true" env -u FURROW_EXECUTOR "$programs/primes" 7

# A program whose file was removed meanwhile, say by an update, still starts itself as its workers.
cp "$programs/primes" .
# shellcheck disable=SC2016 # the inner shell expands it
ends 0 "7 is prime: true" sh -c 'exec 3<primes && rm primes && exec /proc/self/fd/3 "$@"' sh \
    --executor processes:1 7
