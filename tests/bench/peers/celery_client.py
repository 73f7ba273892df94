"""Celery over Redis: celery_client.py CASE...    noop, rtt_p50"""
import sys
import time

from celery_tasks import noop


def say(name, value, unit):
    print(f"celery.{name}\t{value:.6g}\t{unit}", flush=True)


def submit_and_read(count):
    start = time.perf_counter()
    results = [noop.delay(i) for i in range(count)]
    values = [result.get(timeout=60) for result in results]
    if values != list(range(count)):
        sys.exit("a wrong result")
    return time.perf_counter() - start


def main():
    submit_and_read(20)
    for case in sys.argv[1:]:
        if case == "rtt_p50":
            times = sorted(submit_and_read(1) * 1e6 for _ in range(200))
            say("rtt_p99", times[-2], "us")
            say("rtt_p50", times[100], "us")
        else:
            say(case, 1000 / submit_and_read(1000), "tasks/s")


if __name__ == "__main__":
    main()
