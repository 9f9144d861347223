"""Many requests at once for any engine, each with a fate that decides how it must end."""

from __future__ import annotations

import random
import threading
import time
import uuid

from forebay.routing.errors import InvalidJob, TooLong
from forebay.workers.engines.engine import JsonSchema, Prompt, Turn

REFUSED = {"long": TooLong, "bad": InvalidJob}
_FATES = ("plain", "plain", "cancel", "deadline", "long", "json", "bad")
_MAX_IN_FLIGHT = 200  # an engine refuses work if more than 256 requests wait
_SCHEMA = JsonSchema(schema_={"type": "object", "properties": {"n": {"type": "integer"}}})
#: No engine can enforce unique items.
_UNENFORCEABLE = JsonSchema(
    schema_={"type": "array", "uniqueItems": True, "items": {"enum": [1]}, "minItems": 2}
)


def ask(engine, count, context, patience_s=60):
    """Submit `count` requests, no more at once than an engine takes.

    Returns:
        The fate and the future of each request.
    """
    rng, room, requests = random.Random(1), threading.Semaphore(_MAX_IN_FLIGHT), []
    for number in range(count):
        assert room.acquire(timeout=patience_s), "a request did not end"
        fate = rng.choice(_FATES)
        request = _request(rng, fate, number, context)
        future = engine.submit(request)
        future.add_done_callback(lambda _: room.release())
        requests.append((fate, future))
        if fate == "cancel":
            engine.cancel(request.id)
    return requests


def surprises(requests, patience_s=60):
    """Return the fates and errors of the requests that did not end as their fate demands."""
    ends = [(fate, type(future.exception(patience_s))) for fate, future in requests]
    return [(fate, error) for fate, error in ends if error is not REFUSED.get(fate, type(None))]


def _request(rng, fate, number, context):
    changes = {"max_tokens": rng.randint(1, 64), "priority": rng.randint(0, 1)}
    text = f"{number}: say something short."
    if fate == "deadline":
        changes["deadline"] = time.time() + rng.uniform(0, 5)
    if fate in ("json", "bad"):
        changes["constraint"] = _SCHEMA if fate == "json" else _UNENFORCEABLE
    if fate == "long":
        text = "river " * (2 * context)
    turns = (Turn(role="user", content=text),)
    return Prompt(id=uuid.uuid4().hex, messages=turns, **changes)
