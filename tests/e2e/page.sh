# shellcheck shell=sh
# The commands of a page of documentation, so that a test runs what stands there. Read with `.`.
#
# Below each block of commands the page says what becomes of it:
#
#   <!-- run: NAME -->     a test runs it, under that name
#   <!-- not run -->       no test does, and the text below says so
#   <!-- file: PATH -->    it is the content of a file, which a test puts there
#
#   page_block PAGE NAME   prints the commands of that name
#   page_file PAGE PATH    prints the content of that file
#   page_names PAGE        prints the names of all blocks that are run, one a line
# The first two fail where there is no such block, or more than one.

# page_marked PAGE MARK: the block above that line.
page_marked() {
    awk -v mark="<!-- $2 -->" '
        /^```[a-z]+$/ { block = ""; on = 1; next }
        /^```$/ { on = 0; next }
        on { block = block $0 "\n" }
        $0 == mark { printf "%s", block; found++ }
        END { exit found != 1 }' "$1" || {
        echo "$1 does not have exactly one block with the mark <!-- $2 -->" >&2
        return 1
    }
}

page_block() {
    page_marked "$1" "run: $2"
}

page_file() {
    page_marked "$1" "file: $2"
}

page_names() {
    sed -n 's/^<!-- run: \(.*\) -->$/\1/p' "$1"
}
