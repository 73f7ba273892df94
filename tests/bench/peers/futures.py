"""Python's executors that have concurrent.futures' interface: CPython's two, and mpi4py's.

    futures.py processes|threads|mpi CASE...

noop, rtt_p50, map_100, queued_N, echo_Nkib, echo_1mib, workers_N, efficiency_Nus.
Prints name<TAB>value<TAB>unit. Futures are submitted one by one, and every result is read."""
import sys
import time

WORKERS = 2
NAMES = {"processes": "cpython_processes", "threads": "cpython_threads", "mpi": "mpi4py"}
COUNTS = {"processes": 20000, "threads": 40000, "mpi": 5000}


def noop(i):
    return i


def spin(seconds):
    """Useful work is time on the processor, so that waiting for one does not count as such."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def executor_of(kind, workers):
    if kind == "mpi":
        from mpi4py.futures import MPIPoolExecutor
        return MPIPoolExecutor(workers)
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
    return (ProcessPoolExecutor if kind == "processes" else ThreadPoolExecutor)(workers)


def submit_and_read(executor, function, arguments):
    start = time.perf_counter()
    futures = [executor.submit(function, argument) for argument in arguments]
    results = [future.result() for future in futures]
    return time.perf_counter() - start, results


def round_trips(executor, say):
    times = []
    for i in range(3000):
        start = time.perf_counter()
        if executor.submit(noop, i).result() != i:
            sys.exit("a wrong result")
        times.append((time.perf_counter() - start) * 1e6)
    times.sort()
    say("rtt_p99", times[len(times) * 99 // 100], "us")
    say("rtt_p50", times[len(times) // 2], "us")


def map_rate(executor, kind, say):
    count = 2000000 if kind == "processes" else 100000
    start = time.perf_counter()
    if sum(executor.map(noop, range(count), chunksize=100)) != count * (count - 1) // 2:
        sys.exit("a wrong sum")
    say("map_100", count / (time.perf_counter() - start), "tasks/s")


def echoes(executor, case, say):
    number, unit = case[5:-3], case[-3:]
    size = int(number) << (20 if unit == "mib" else 10)
    payload = bytes(size)
    count = 5000 if size <= 1 << 14 else 200
    seconds, results = submit_and_read(executor, noop, [payload] * count)
    if any(len(result) != size for result in results):
        sys.exit("a wrong result")
    if unit == "mib":
        say(case, count * size / seconds / 1e9, "GB/s")
    else:
        say(case, count / seconds, "tasks/s")


def efficiency(executor, case, say):
    useful = int(case[len("efficiency_"):-2]) * 1e-6
    count = max(20, int(0.5 * WORKERS / (useful + 100e-6)))
    seconds, _ = submit_and_read(executor, spin, [useful] * count)
    say(case, count * useful / (seconds * WORKERS), "of 1")


def measure(executor, kind, case, say):
    if case == "rtt_p50":
        round_trips(executor, say)
    elif case == "map_100":
        map_rate(executor, kind, say)
    elif case.startswith("echo_"):
        echoes(executor, case, say)
    elif case.startswith("efficiency_"):
        efficiency(executor, case, say)
    else:
        count = int(case[7:]) if case.startswith("queued_") else COUNTS[kind]
        seconds, results = submit_and_read(executor, noop, range(count))
        if results != list(range(count)):
            sys.exit("a wrong result")
        say(case, count / seconds, "tasks/s")


def main():
    kind = sys.argv[1]
    for case in sys.argv[2:]:
        workers = int(case[8:]) if case.startswith("workers_") else WORKERS

        def say(name, value, unit):
            print(f"{NAMES[kind]}.{name}\t{value:.6g}\t{unit}", flush=True)

        with executor_of(kind, workers) as executor:
            submit_and_read(executor, noop, range(500))
            measure(executor, kind, case, say)


if __name__ == "__main__":
    main()
