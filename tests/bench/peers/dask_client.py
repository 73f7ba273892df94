"""dask.distributed: dask_client.py ADDRESS CASE...   noop, rtt_p50, queued_N, efficiency_Nus"""
import sys
import time

from distributed import Client

from futures import spin

WORKERS = 2


def noop(i):
    return i


def gather(client, function, arguments):
    start = time.perf_counter()
    futures = [client.submit(function, argument, pure=False) for argument in arguments]
    results = client.gather(futures)
    return time.perf_counter() - start, results


def say(name, value, unit):
    print(f"dask.{name}\t{value:.6g}\t{unit}", flush=True)


def round_trips(client):
    times = []
    for i in range(100):
        start = time.perf_counter()
        if client.submit(noop, i, pure=False).result() != i:
            sys.exit("a wrong result")
        times.append((time.perf_counter() - start) * 1e6)
    times.sort()
    say("rtt_p99", times[-1], "us")
    say("rtt_p50", times[len(times) // 2], "us")


def measure(client, case):
    if case == "rtt_p50":
        round_trips(client)
    elif case.startswith("efficiency_"):
        useful = int(case[len("efficiency_"):-2]) * 1e-6
        count = max(20, int(1.0 * WORKERS / (useful + 3e-3)))
        seconds, _ = gather(client, spin, [useful] * count)
        say(case, count * useful / (seconds * WORKERS), "of 1")
    else:
        count = int(case[7:]) if case.startswith("queued_") else 1000
        seconds, results = gather(client, noop, range(count))
        if list(results) != list(range(count)):
            sys.exit("a wrong result")
        say(case, count / seconds, "tasks/s")


def main():
    client = Client(sys.argv[1], timeout=20)
    client.wait_for_workers(WORKERS)
    gather(client, noop, range(100))
    for case in sys.argv[2:]:
        measure(client, case)
    client.close()


if __name__ == "__main__":
    main()
