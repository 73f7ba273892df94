# What the other awk programs share.

function sort(values, count,    i, j, value) {
    for (i = 2; i <= count; i++) {
        value = values[i]
        for (j = i - 1; j >= 1 && values[j] > value; j--)
            values[j + 1] = values[j]
        values[j + 1] = value
    }
}

function median(values, count) {
    sort(values, count)
    return count % 2 ? values[(count + 1) / 2] : (values[count / 2] + values[count / 2 + 1]) / 2
}

# 1234567 -> 1,234,567; below 1,000 three digits that mean something.
function number(value,    text, done) {
    if (value < 1000)
        return sprintf("%.3g", value)
    text = sprintf("%d", value + 0.5)
    done = ""
    while (length(text) > 3) {
        done = "," substr(text, length(text) - 2) done
        text = substr(text, 1, length(text) - 3)
    }
    return text done
}
