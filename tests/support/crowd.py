"""Requests of all fates in a crowd, for any engine: each ends once, as its fate says."""

from __future__ import annotations

import random
import threading
import time
import uuid

from forebay.routing.errors import InvalidJob, TooLong
from forebay.workers.engines.engine import JsonSchema, Prompt, Turn

REFUSED = {"long": TooLong, "bad": InvalidJob}
_FATES = ("plain", "plain", "cancel", "deadline", "long", "json", "bad")
_AT_ONCE = 200  # an engine refuses work when more than 256 wait
_SHAPE = JsonSchema(schema_={"type": "object", "properties": {"n": {"type": "integer"}}})
_BEYOND = JsonSchema(
    schema_={"type": "array", "uniqueItems": True, "items": {"enum": [1]}, "minItems": 2}
)


def ask(engine, count, context, patience_s=60):
    """Submit so many, no more at once than an engine takes; each fate with its future."""
    chance, room, asked = random.Random(1), threading.Semaphore(_AT_ONCE), []
    for number in range(count):
        assert room.acquire(timeout=patience_s), "a request did not end"
        fate = chance.choice(_FATES)
        one = _request(chance, fate, number, context)
        future = engine.submit(one)
        future.add_done_callback(lambda _: room.release())
        asked.append((fate, future))
        if fate == "cancel":
            engine.cancel(one.id)
    return asked


def surprises(asked, patience_s=60):
    """Fates that ended in another way than they must."""
    ends = [(fate, type(future.exception(patience_s))) for fate, future in asked]
    return [one for one in ends if one[1] is not REFUSED.get(one[0], type(None))]


def _request(chance, fate, number, context):
    changes = {"max_tokens": chance.randint(1, 64), "priority": chance.randint(0, 1)}
    text = f"{number}: say something short."
    if fate == "deadline":
        changes["deadline"] = time.time() + chance.uniform(0, 5)
    if fate in ("json", "bad"):
        changes["constraint"] = _SHAPE if fate == "json" else _BEYOND
    if fate == "long":
        text = "river " * (2 * context)
    turns = (Turn(role="user", content=text),)
    return Prompt(id=uuid.uuid4().hex, messages=turns, **changes)
