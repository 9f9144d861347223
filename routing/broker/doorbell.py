"""The doorbell: the Celery message that a script of the ledger pushes onto a queue's list.

Celery and kombu make the message, once, as a template. The scripts fill in three words. Every ring
gets its own id, which is also its delivery tag: two messages with the same tag would share one
entry among kombu's unacknowledged messages, and one of them could be lost.
"""

from __future__ import annotations

from celery import Celery
from kombu.utils.json import dumps, loads

RING, QUEUE, TASK = "@RING@", "@QUEUE@", "@TASK@"


def template(app: Celery) -> str:
    """Return the message that Celery would publish, with `@RING@`, `@QUEUE@` and `@TASK@` in it."""
    with app.connection_for_write("memory://") as connection:
        app.send_task(
            f"forebay.{TASK}",
            task_id=RING,
            queue=QUEUE,
            connection=connection,
            ignore_result=True,
        )
        message = loads(dumps(connection.default_channel._get(QUEUE)))  # noqa: SLF001 - no public way
    message["properties"]["delivery_tag"] = RING
    return str(dumps(message))
