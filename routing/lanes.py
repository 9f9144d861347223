"""The places of a job: lanes, hops, queues, and the Celery task of each queue."""

from __future__ import annotations

import re
from typing import Literal

Lane = Literal["local", "bedrock"]
Hop = Literal["route", "local", "bedrock"]

ROUTE = "route"
EMBED = "embed"
BEDROCK = "bedrock"
SWEEP = "sweep"  # holds no jobs; a sweeper serves it to show that it is alive
DEFAULT_POOL = "default"
SHARDS = ":rows"  # ends the names of the depths that count the shards of a queue

#: The module of the worker for each queue whose name differs from its worker's.
_MODULES = {ROUTE: "router", EMBED: "local", SWEEP: "sweeper"}

_POOL = re.compile(r"[a-z0-9][a-z0-9_-]{0,40}")


def local_queue(pool: str = DEFAULT_POOL) -> str:
    """Return the queue of a pool, a named set of workers that serve one model.

    Raises:
        ValueError: The name is not `[a-z0-9_-]`, at most 41 characters.
    """
    if not _POOL.fullmatch(pool):
        raise ValueError(f"a pool is named by [a-z0-9_-], at most 41 characters, not {pool!r}")
    return f"local.{pool}"


def hop_of(queue: str) -> Hop:
    """Return the hop that a queue belongs to; `embed` belongs to the local lane."""
    if queue == ROUTE:
        return "route"
    return "bedrock" if queue == BEDROCK else "local"


def is_queue(name: str) -> bool:
    """Return whether this is the name of a queue, whose list holds doorbells."""
    return name in {ROUTE, EMBED, BEDROCK, SWEEP} or name.startswith("local.")


def task_name(queue: str) -> str:
    """Return the Celery task that a doorbell of this queue calls. All pools share one task."""
    return f"forebay.{queue.partition('.')[0]}"


def start_command(queue: str) -> str:
    """Return the command that starts a worker for a queue."""
    lane, _, pool = queue.partition(".")
    command = f"celery -A forebay.workers.{_MODULES.get(queue, lane)} worker"
    named = lane == "local" and pool != DEFAULT_POOL
    return f"FOREBAY_POOL={pool} {command}" if named else command
