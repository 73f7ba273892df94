# Takes the lines of one series out of a group's: x, median, lowest, highest. Of a payload x is its bytes
# and y is in MB/s, of a length x is in us.

function x_of(text) {
    if (text ~ /kib$/)
        return text * 1024
    if (text ~ /mib$/)
        return text * 1048576
    return text + 0
}

BEGIN { FS = "\t" }

NF == 4 && substr($2, 1, length(prefix)) == prefix && substr($2, length(prefix) + 1) ~ /^[0-9]+(us|kib|mib)?$/ {
    x = substr($2, length(prefix) + 1)
    scale = 1
    if (prefix ~ /\.echo_$/)
        scale = $4 == "GB/s" ? 1000 : x_of(x) / 1e6
    count[x]++
    value[x, count[x]] = $3 * scale
}

END {
    for (x in count) {
        for (i = 1; i <= count[x]; i++)
            list[i] = value[x, i]
        middle = median(list, count[x])
        print x_of(x), middle, list[1], list[count[x]]
    }
}
