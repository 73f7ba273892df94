#!/bin/sh
# Checks that every C file is formatted as .clang-format says; `--fix` formats them.
set -eu
cd "$(dirname "$0")/.."

case "${1:-}" in
"") mode="--dry-run -Werror" ;;
--fix) mode=-i ;;
*)
    echo "usage: sh tests/format.sh [--fix]" >&2
    exit 2
    ;;
esac

# shellcheck disable=SC2086 # the mode may be two words
find . \( -path ./build -o -path ./.git \) -prune -o -type f -name '*.[ch]' -print0 |
    xargs -0 -r clang-format --style=file $mode
