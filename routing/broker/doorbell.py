"""The doorbell: the Celery message that a ledger script pushes onto a queue's list.

Its bytes come from Celery and kombu themselves, captured once as a template. The scripts fill in
three words; every ring has an id of its own, which is also its delivery tag: two messages with one
tag would share one entry among kombu's unacknowledged, and one could be lost.
"""

from __future__ import annotations

from celery import Celery
from kombu.utils.json import dumps, loads

RING, QUEUE, TASK = "@RING@", "@QUEUE@", "@TASK@"


def template(app: Celery) -> str:
    """The message that `apply_async` would publish, with `@RING@`, `@QUEUE@` and `@TASK@` in it."""
    with app.connection_for_write("memory://") as connection:
        app.send_task(
            f"forebay.{TASK}",
            task_id=RING,
            queue=QUEUE,
            connection=connection,
            ignore_result=True,
        )
        message = loads(dumps(connection.default_channel._get(QUEUE)))  # noqa: SLF001 - see above
    message["properties"]["delivery_tag"] = RING
    return str(dumps(message))
