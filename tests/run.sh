#!/bin/sh
# Everything that must hold: installs what is missing, builds Furrow in all its variants and runs
# every test. Ends with "N passed, N failed, N skipped", and fails if anything did.
#
#   sh tests/run.sh            everything, about half an hour on two cores; fuzzing is 5 minutes of it,
#                              unless FURROW_FUZZ_SECONDS says how long each target runs (60)
#   sh tests/run.sh --quick    the release build and its tests alone
#   sh tests/run.sh --compose  docker-compose.yml in a real Docker engine alone
#   sh tests/run.sh --systemd  the release build, and its units under a real systemd alone
#
# The last two take root (the first of them also does with an engine that runs). Where they can't be
# done, they are skipped, which is said and not counted as passed; with CI=true that is a failure.
#
# Each variant has its directory under build/, so a second run builds only what has changed.
set -u
cd "$(dirname "$0")/.." || exit 1

what=${1:-everything}
case $what in
everything | --quick | --compose | --systemd) ;;
*)
    echo "usage: sh tests/run.sh [--quick|--compose|--systemd]" >&2
    exit 2
    ;;
esac

jobs=$(nproc)
passed=0
failed=0
skipped=0
summary=
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT

# ThreadSanitizer wants its part of the address space free, which randomisation may take.
no_aslr=
if setarch -R true 2>/dev/null; then
    no_aslr="setarch -R"
fi

section() {
    printf '\n======== %s\n' "$1"
    section_name=$1
    section_start=$(date +%s)
}

# note RESULT: one line of the summary, about the section that just ended.
note() {
    seconds=$(($(date +%s) - section_start))
    summary="$summary$(printf '%-44s %-24s %4d s' "$section_name" "$1" "$seconds")
"
}

# check COMMAND...: a section that is one check; counts as one test. 77 means that it could not be done.
check() {
    status=0
    "$@" || status=$?
    if [ "$status" -eq 0 ]; then
        passed=$((passed + 1))
        note ok
    elif [ "$status" -eq 77 ] && [ "${CI:-}" != true ]; then
        skipped=$((skipped + 1))
        note "SKIPPED, see above"
    else
        failed=$((failed + 1))
        note FAILED
        return 1
    fi
}

compose() {
    section "Docker Compose"
    check sh tests/e2e/compose.sh
}

systemd() {
    section "systemd"
    if [ "$(id -u)" -eq 0 ] && ! sh deploy/install-deps.sh systemd; then
        failed=$((failed + 1))
        note "FAILED TO INSTALL"
        return 1
    fi
    check sh tests/e2e/systemd.sh build/release
}

# build PRESET [OPTION...]: configures and builds. A build that fails counts as one failed test.
build() {
    preset=$1
    shift
    if cmake --preset "$preset" -DFURROW_TESTS=ON -DFURROW_EXAMPLES=ON "$@" >"$log" 2>&1 &&
        cmake --build --preset "$preset" --parallel "$jobs"; then
        note built
    else
        cat "$log"
        failed=$((failed + 1))
        note "FAILED TO BUILD"
        return 1
    fi
}

# tests PRESET [CTEST OPTION...]: runs tests and adds up how many passed and failed.
tests() {
    preset=$1
    shift
    # The pipe to tee would hide ctest's status; its own last words are what is read.
    $no_aslr ctest --test-dir "build/$preset" -j2 --output-on-failure --no-tests=error "$@" 2>&1 |
        tee "$log"
    counts=$(sed -n 's/^[0-9]*% tests passed, \([0-9]*\) tests failed out of \([0-9]*\)$/\1 \2/p' \
        "$log")
    if [ -z "$counts" ]; then
        failed=$((failed + 1))
        note "FAILED TO RUN"
        return 1
    fi
    bad=${counts% *}
    # ctest counts those as passed.
    undone=$(grep -c '^[[:space:]]*[0-9]* - .* (Skipped)$' "$log")
    good=$((${counts#* } - bad - undone))
    passed=$((passed + good))
    failed=$((failed + bad))
    skipped=$((skipped + undone))
    result="$good passed"
    [ "$undone" -eq 0 ] || result="$result, $undone SKIPPED"
    if [ "$bad" -eq 0 ]; then
        note "$result"
    else
        note "$result, $bad FAILED"
        summary="$summary$(sed -n '/^The following tests FAILED:$/,/^Errors while/{//!p}' "$log")
"
        return 1
    fi
}

finish() {
    printf '\n======== Summary\n%s\n' "$summary"
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ]
    exit
}

if [ "$what" = --compose ]; then
    compose
    finish
fi

section "Packages"
if ! sh deploy/install-deps.sh test; then
    failed=1
    note FAILED
    finish
fi
note ok

section "Release build (gcc)"
if build release; then
    if [ "$what" = --systemd ]; then
        systemd
        finish
    fi
    section "Release: all tests"
    tests release
    # What the simulation's shards said last: "N seeds, N failed; H cluster-hours in ...".
    sed -n 's/^[0-9]* seeds, .*; \([0-9.]*\) cluster-hours.*/\1/p' \
        build/release/Testing/Temporary/LastTest.log |
        awk '{ hours += $1 } END { printf "%.1f cluster-hours were simulated\n", hours }'
fi
case $what in
--*) finish ;;
esac

compose
systemd

section "The cores are pure"
check sh tests/purity.sh build/release

section "Formatting"
check sh tests/format.sh

section "No leaks in the examples (valgrind)"
check sh tests/leaks.sh build/release

section "clang build, warnings as errors"
if build clang; then
    section "clang: unit tests"
    tests clang -L '^unit$'
fi

section "AddressSanitizer and UBSan build"
if build asan; then
    section "ASan and UBSan: unit and conformance"
    tests asan -L '^(unit|conformance)$'
fi

section "Fuzzing: ${FURROW_FUZZ_SECONDS:-60} s each"
if check sh tests/fuzz/run.sh --seconds "${FURROW_FUZZ_SECONDS:-60}"; then
    section "Fuzzing finds what is wrong"
    if cmake --build --preset fuzz --target fuzz_canaries >"$log" 2>&1; then
        tests fuzz -L '^fuzz$'
    else
        cat "$log"
        failed=$((failed + 1))
        note "FAILED TO BUILD"
    fi
fi

section "ThreadSanitizer build"
if build tsan; then
    section "TSan: unit and conformance"
    tests tsan -L '^(unit|conformance)$'
fi

finish
