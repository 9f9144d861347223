"""The doorbell: the Celery message that a script of the ledger pushes onto a queue's list.

Celery and kombu make the message, as a template. The scripts fill in three words. Every ring gets
its own id, which is also its delivery tag: two messages with the same tag would share one entry
among kombu's unacknowledged messages, and one of them could be lost.

The template is the same for all fleets and comes with the package (`doorbell.json`), because it
takes half a second to import Celery. `python -m forebay.routing.broker.app` makes it anew.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from forebay.routing.lanes import task_name

if TYPE_CHECKING:
    from celery import Celery

RING, QUEUE, TASK = "@RING@", "@QUEUE@", "@TASK@"
_TASK_NAME = f"forebay.{TASK}"
ORIGIN = "forebay"  # in place of the process and the host that made the template
PACKAGED = Path(__file__).with_name("doorbell.json")


@cache
def packaged_template() -> str:
    """Return the template that comes with the package."""
    return PACKAGED.read_text().strip()


@cache
def _of_queue(queue: str) -> str:
    """Return the template with the words of a queue in it."""
    return packaged_template().replace(_TASK_NAME, task_name(queue)).replace(QUEUE, queue)


def doorbell(queue: str, ring: str) -> str:
    """Return a doorbell of a queue, as the scripts push it onto the queue's list.

    Args:
        queue: the queue that it names.
        ring: its own name, which no other doorbell has.
    """
    return _of_queue(queue).replace(RING, f"{queue}.{ring}")


def template(app: Celery) -> str:
    """Return the message that Celery would publish, with `@RING@`, `@QUEUE@` and `@TASK@` in it."""
    from kombu.utils.json import dumps, loads  # noqa: PLC0415 - slow, and rarely needed

    with app.connection_for_write("memory://") as connection:
        app.send_task(
            _TASK_NAME,
            task_id=RING,
            queue=QUEUE,
            connection=connection,
            ignore_result=True,
        )
        message = loads(dumps(connection.default_channel._get(QUEUE)))  # noqa: SLF001 - no public way
    message["properties"]["delivery_tag"] = RING
    message["properties"]["reply_to"] = None
    message["headers"]["origin"] = ORIGIN
    return str(dumps(message, separators=(",", ":")))
