"""A tenant sends requests whose checks would take for ever, to both lanes."""

from __future__ import annotations

import itertools
import time

from books.content import DENY, OPEN
from forebay.producers.client import Client
from forebay.routing.jobs import Extract, Request
from forebay.routing.ledger.record import ENDED
from forebay.routing.store.connection import connect
from storms.hostile_requests import hostile
from storms.storm import ATTACKER, Context, Storm

FLIGHTS = {"local": 48, "bedrock": 24}  # jobs in flight at once: more than a lane has threads
DRAWN = 24  # different requests for each lane
LOOK_S = 0.2


def attack(context: Context) -> None:
    """Keep so many hostile jobs in flight on both lanes."""
    with Client(tenant=ATTACKER, settings=context.settings) as client:
        attacks = [Attack(context, client, lane, most) for lane, most in FLIGHTS.items()]
        while not context.over:
            for attack in attacks:
                attack.fill()
            time.sleep(LOOK_S)
        print(f"{sum(attack.sent for attack in attacks)} hostile jobs accepted", flush=True)


class Attack:
    """The hostile jobs on one lane: some requests, varied, since making one takes time.

    Attributes:
        sent: how many were accepted.
    """

    def __init__(self, context: Context, client: Client, lane: str, most: int) -> None:
        self._context = context
        self._client = client
        self._redis = connect(context.settings)
        self._up = lane == "bedrock"
        self._most = most
        self._flight: set[str] = set()
        made = [hostile(context.dice, self._mark(number)) for number in range(DRAWN)]
        self._requests = itertools.cycle([request for request in made if request is not None])
        self._numbers = itertools.count()
        self.sent = 0

    def fill(self) -> None:
        """Submit as many jobs as have ended."""
        flight = sorted(self._flight)
        with self._redis.pipeline(transaction=False) as pipe:
            for job in flight:
                pipe.hget(f"fb:job:{job}", "state")
            states = [(state or b"").decode() for state in pipe.execute()]
        self._flight = {
            job for job, state in zip(flight, states, strict=True) if state not in ENDED
        }
        for _ in range(self._most - len(self._flight)):
            number = next(self._numbers)
            made = self._submit(varied(next(self._requests), number), f"hostile{number}")
            if made is not None:
                self._flight.add(made)
                self.sent += 1

    def _submit(self, request: Request, number: str) -> str | None:
        if self._up:
            return self._context.submit(
                self._client, request, number, lane="bedrock", egress="allow"
            )
        return self._context.submit(self._client, request, number)

    def _mark(self, number: int) -> str:
        return f"{OPEN if self._up else DENY}{number:012x}"


def varied(request: Request, number: int) -> Request:
    """Return the request with a schema that no check was stopped at before."""
    if not isinstance(request, Extract):
        return request
    return request.model_copy(update={"schema_": {**request.schema_, "title": f"form {number}"}})


STORM = Storm("schemas", "a tenant whose checks would take for ever", attack)
