"""A bare Celery worker whose task does nothing, for comparison: `celery -A bare worker`."""

from __future__ import annotations

import os

import redis
from celery import Celery

URL = os.environ["FOREBAY_REDIS_URL"]
app = Celery("bare", broker=URL)
app.conf.update(task_ignore_result=True, task_acks_late=True, worker_prefetch_multiplier=1)
app.conf.broker_transport_options = {"priority_steps": [0]}
done = redis.Redis.from_url(URL)


@app.task(name="bare.nothing")
def nothing() -> None:
    """Count the task."""
    done.incr("done")
