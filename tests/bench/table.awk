# Makes a Markdown table of the lines that compare.sh has collected: RUN<TAB>name<TAB>value<TAB>unit.
# First every name with its median and spread; then, for each peer, every one of ours that measures the
# same, with the ratio of each run's pair: its median and spread.

function case_of(name) {
    sub(/^.*\./, "", name)
    return name
}

function is_ours(name) {
    return name ~ /^(threads|processes|tcp|ipc|tcp_curve)\./
}

# Raw libzmq is held against ours over the same transport.
function comparable(ours, theirs) {
    if (is_ours(theirs) || case_of(ours) != case_of(theirs) || unit[ours] != unit[theirs])
        return 0
    if (theirs ~ /^chain\.ipc\./)
        return ours ~ /^processes\./
    if (theirs ~ /^chain\.tcp\./)
        return ours ~ /^tcp/
    return 1
}

BEGIN { FS = "\t" }

/^#/ { notes[++note_count] = substr($0, 3); next }

NF == 4 {
    if (!($2 in unit)) {
        names[++name_count] = $2
        unit[$2] = $4
    }
    if (!(($2, $1) in value))
        runs[$2, ++run_count[$2]] = $1
    value[$2, $1] = $3
}

END {
    print "| what | median | lowest .. highest | unit | runs |"
    print "|---|---:|---:|---|---:|"
    for (n = 1; n <= name_count; n++) {
        name = names[n]
        count = run_count[name]
        for (i = 1; i <= count; i++)
            list[i] = value[name, runs[name, i]] + 0
        middle = median(list, count)
        printf "| %s | %s | %s .. %s | %s | %d |\n", name, number(middle), number(list[1]), \
            number(list[count]), unit[name], count
    }
    for (n = 1; n <= name_count; n++) {
        for (m = 1; m <= name_count; m++) {
            if (!is_ours(names[n]) || !comparable(names[n], names[m]))
                continue
            count = 0
            for (i = 1; i <= run_count[names[n]]; i++) {
                run = runs[names[n], i]
                if ((names[m], run) in value && value[names[m], run] > 0)
                    list[++count] = value[names[n], run] / value[names[m], run]
            }
            if (count == 0)
                continue
            if (!told++) {
                print "\n| ours / theirs | ratio | lowest .. highest |"
                print "|---|---:|---:|"
            }
            middle = median(list, count)
            printf "| %s / %s | %s | %s .. %s |\n", names[n], names[m], number(middle), \
                number(list[1]), number(list[count])
        }
    }
    for (n = 1; n <= note_count; n++)
        printf "%sNot measured: %s\n", n == 1 ? "\n" : "", notes[n]
}
