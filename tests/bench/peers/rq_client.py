"""RQ over Redis, with its SimpleWorker (which does not fork for each job): rq_client.py CASE...
noop, rtt_p50. RQ tells nobody that a job is done: its client has to ask again and again."""
import os
import sys
import time

import redis
from rq import Queue

from rq_tasks import noop


def say(name, value, unit):
    print(f"rq.{name}\t{value:.6g}\t{unit}", flush=True)


def submit_and_read(queue, count):
    start = time.perf_counter()
    jobs = [queue.enqueue(noop, i) for i in range(count)]
    for i, job in enumerate(jobs):
        while job.get_status(refresh=True) != "finished":
            time.sleep(0.0005)
        job.refresh()
        if job.result != i:
            sys.exit("a wrong result")
    return time.perf_counter() - start


def main():
    queue = Queue(connection=redis.Redis.from_url(os.environ["PEER_REDIS"] + "/2"))
    submit_and_read(queue, 20)
    for case in sys.argv[1:]:
        if case == "rtt_p50":
            times = sorted(submit_and_read(queue, 1) * 1e6 for _ in range(100))
            say("rtt_p99", times[-1], "us")
            say("rtt_p50", times[50], "us")
        else:
            say(case, 500 / submit_and_read(queue, 500), "tasks/s")


if __name__ == "__main__":
    main()
