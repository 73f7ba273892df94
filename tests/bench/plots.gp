# Called by plots.sh with `data` (a directory of series) and `out`. What has no series is not drawn.
set terminal pngcairo size 900,560 font "sans,11" linewidth 1.4
set grid xtics ytics linecolor rgb "#cccccc" linewidth 0.7
set border 3
set tics nomirror out
set key outside right center vertical Left reverse samplen 2 spacing 1.3
set errorbars small

# Ours thick, peers thin, raw libzmq grey.
set style line 1 linecolor rgb "#0072b2" linewidth 2.4 pointtype 7 pointsize 1.1
set style line 2 linecolor rgb "#d55e00" linewidth 2.4 pointtype 5 pointsize 1.1
set style line 3 linecolor rgb "#009e73" linewidth 1.3 pointtype 9 pointsize 1.1
set style line 4 linecolor rgb "#cc79a7" linewidth 1.3 pointtype 11 pointsize 1.1
set style line 5 linecolor rgb "#a08000" linewidth 1.3 pointtype 13 pointsize 1.2
set style line 6 linecolor rgb "#888888" linewidth 1.3 dashtype 2 pointtype 6 pointsize 1.1
set style line 7 linecolor rgb "#888888" linewidth 1.3 dashtype 4 pointtype 4 pointsize 1.1

systems = "processes tcp cpython_processes gearmand beanstalkd chain.ipc chain.tcp dask"
titles = "'Furrow, processes:' 'Furrow, tcp:' 'CPython ProcessPool' 'gearmand' 'beanstalkd' \
'raw libzmq, ipc' 'raw libzmq, TCP' 'Dask'"
styles = "1 2 3 4 5 6 7 5"

path(kind, i) = sprintf("%s/%s.%s", data, kind, word(systems, i))
there(kind, i) = system("test -s '" . path(kind, i) . "' && echo 1 || echo 0") + 0
present(kind) = system("for s in " . systems . "; do test -s '" . data . "/" . kind . ".'$s && printf '%s ' $s; done; true")
index_of(name) = (i_ = 0, sum [k = 1:words(systems)] (word(systems, k) eq name ? k : 0))

set logscale xy
set format y "10^{%L}"

set title "No-ops by tasks queued at once"
set xlabel "tasks submitted at once"
set ylabel "tasks/s, submit to result read"
set format x "10^{%L}"
set xrange [700:1400000]
names = present("queued")
if (words(names) > 0) {
    set output out . "/depth.png"
    plot for [n in names] path("queued", index_of(n)) using 1:2:3:4 with yerrorlines \
        linestyle word(styles, index_of(n)) + 0 title word(titles, index_of(n))
    unset output
}

set title "No-ops by worker processes on one machine"
set xlabel "worker processes"
set format x "%g"
set logscale x 2
set xrange [0.9:18]
names = present("workers")
if (words(names) > 0) {
    set output out . "/workers.png"
    plot for [n in names] path("workers", index_of(n)) using 1:2:3:4 with yerrorlines \
        linestyle word(styles, index_of(n)) + 0 title word(titles, index_of(n))
    unset output
}

set title "Echo by payload size"
set xlabel "payload"
set ylabel "MB/s there and back"
set xrange [700:1500000]
set xtics ("1 KiB" 1024, "16 KiB" 16384, "128 KiB" 131072, "1 MiB" 1048576)
set format y "%g"
names = present("echo")
if (words(names) > 0) {
    set output out . "/payload.png"
    plot for [n in names] path("echo", index_of(n)) using 1:2:3:4 with yerrorlines \
        linestyle word(styles, index_of(n)) + 0 title word(titles, index_of(n))
    unset output
}

set title "Useful part of the processors' time by task length, two workers"
set xlabel "useful work in a task"
set ylabel "efficiency"
unset logscale
set logscale x 10
set xrange [0.8:13000]
set yrange [0:1.15]
set xtics ("1 us" 1, "10 us" 10, "100 us" 100, "1 ms" 1000, "10 ms" 10000)
names = present("efficiency")
if (words(names) > 0) {
    set output out . "/efficiency.png"
    plot 0.5 with lines linecolor rgb "#bbbbbb" dashtype 3 notitle, \
        for [n in names] path("efficiency", index_of(n)) using 1:2:3:4 with yerrorlines \
        linestyle word(styles, index_of(n)) + 0 title word(titles, index_of(n))
    unset output
}
