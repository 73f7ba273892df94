"""The application that Celery's workers and its client share."""
import os

from celery import Celery

url = os.environ["PEER_REDIS"]
app = Celery("celery_tasks", broker=url + "/0", backend=url + "/1")


@app.task
def noop(i):
    return i
