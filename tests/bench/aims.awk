# Holds figures against aims.tsv. Arguments: aims.tsv, then compare.sh's GROUP.tsv files. A ratio is taken
# within each run; what is told is the median over the runs, and the lowest and highest.

function group_of(path) {
    sub(/^.*\//, "", path)
    sub(/\.tsv$/, "", path)
    return path
}

function told(name, group,    i, count) {
    count = 0
    for (i = 1; i <= run_count[group, name]; i++)
        list[++count] = value[group, name, i]
    return count ? number(median(list, count)) " " unit[group, name] : "–"
}

BEGIN { FS = "\t" }

/^#/ { next }

FNR == NR {
    aims++
    what[aims] = $1; group[aims] = $2; ours[aims] = $3; base[aims] = $4
    relation[aims] = $5; limit[aims] = $6; measure[aims] = $7
    next
}

NF == 4 {
    at = group_of(FILENAME)
    unit[at, $2] = $4
    if (!((at, $2, $1) in seen)) {
        seen[at, $2, $1] = 1
        run_count[at, $2]++
        value[at, $2, run_count[at, $2]] = $3 + 0
        by_run[at, $2, $1] = $3 + 0
        run_of[at, $2, run_count[at, $2]] = $1
    }
}

END {
    print "| what | aim | measured | lowest .. highest | met | ours | against | group |"
    print "|---|---:|---:|---:|---|---:|---:|---|"
    for (a = 1; a <= aims; a++) {
        count = 0
        at = group[a]
        for (i = 1; i <= run_count[at, ours[a]]; i++) {
            run = run_of[at, ours[a], i]
            if (base[a] == "-")
                list[++count] = by_run[at, ours[a], run]
            else if ((at, base[a], run) in by_run && by_run[at, base[a], run] > 0)
                list[++count] = by_run[at, ours[a], run] / by_run[at, base[a], run]
        }
        sign = relation[a] == ">=" ? "≥" : "≤"
        if (count == 0) {
            printf "| %s | %s %s %s | not measured | | | | | `%s` |\n", what[a], sign, limit[a], \
                measure[a], at
            continue
        }
        middle = median(list, count)
        met = relation[a] == ">=" ? middle >= limit[a] : middle <= limit[a]
        spread = number(list[1]) " .. " number(list[count])
        good += met
        printf "| %s | %s %s %s | %s %s | %s | %s | %s | %s | `%s` |\n", what[a], sign, limit[a], \
            measure[a], number(middle), measure[a], spread, met ? "yes" : "**no**", \
            told(ours[a], at), base[a] == "-" ? "" : told(base[a], at), at
    }
    printf "\n%d of %d aims are met.\n", good, aims
}
