#!/bin/sh
# Checks that every block of commands on the pages about deployment says what becomes of it (see
# tests/e2e/page.sh): a test runs it, or the page says that none does, and why.
#
#   sh pages.sh SOURCE
#
# That the test of a page really runs each block which says so, that test finds out itself.
set -eu

source=$1
# shellcheck source=tests/e2e/page.sh
. "$source/tests/e2e/page.sh"

complaints() {
    for page in "$source"/docs/deploy-*.md; do
        # The line below each block; where it is not run, also the next, which has to say why.
        awk -v page="$(basename "$page")" '
            /^```[a-z]+$/ { language = substr($0, 4); line = NR; open = 1; next }
            /^```$/ { open = 0; closed = NR; next }
            closed && NR == closed + 1 {
                if ($0 == "<!-- not run -->") why = NR + 1
                else if ($0 !~ /^<!-- (run|file): [^ ]+ -->$/ && language != "text")
                    print page ":" line ": what becomes of this block?"
            }
            why == NR && $0 !~ /^\*Not run/ { print page ":" line ": why is it not run?" }
            END { if (open) print page ":" line ": a block without an end" }' "$page"
        [ -n "$(page_names "$page")" ] || echo "$page: no block that is run"
        for name in $(page_names "$page" | sort | uniq -d); do
            echo "$page: several blocks named $name"
        done
        grep -rqF "$(basename "$page")" "$source"/tests/e2e/*.sh "$source"/tests/packaging/*.sh ||
            echo "$page: no test reads it"
    done
}

found=$(complaints)
[ -z "$found" ] || {
    echo "$found" >&2
    exit 1
}
echo "pages: every block says what becomes of it"
