"""A tenant sends requests whose checks would take for ever, to both lanes."""

from __future__ import annotations

import itertools
import time

from books.content import DENY, OPEN
from forebay.producers.client import Client
from forebay.routing.jobs import Request
from forebay.routing.ledger.record import ENDED
from storms.hostile_requests import hostile
from storms.storm import ATTACKER, Scene, Storm

LOCAL, BEDROCK = 48, 24  # jobs in flight at once: more than both lanes have threads
LOOK_S = 0.1


def rage(scene: Scene) -> None:
    """Keep so many hostile jobs in flight on both lanes."""
    with Client(tenant=ATTACKER, settings=scene.settings) as client:
        attacks = [Attack(scene, client, "local", LOCAL), Attack(scene, client, "bedrock", BEDROCK)]
        while not scene.over:
            for attack in attacks:
                attack.fill()
            time.sleep(LOOK_S)


class Attack:
    """The hostile jobs on one lane. Some requests are made before, since making them takes time."""

    def __init__(self, scene: Scene, client: Client, lane: str, most: int) -> None:
        self._scene = scene
        self._client = client
        self._up = lane == "bedrock"
        self._most = most
        self._flight: set[str] = set()
        made = [hostile(scene.dice, self._mark(number)) for number in range(most)]
        self._requests = itertools.cycle([request for request in made if request is not None])
        self._numbers = itertools.count()

    def fill(self) -> None:
        """Submit as many jobs as have ended."""
        ended = [job for job in self._flight if self._client.status(job).state in ENDED]
        self._flight.difference_update(ended)
        for _ in range(self._most - len(self._flight)):
            made = self._submit(next(self._requests), f"hostile{next(self._numbers)}")
            if made is not None:
                self._flight.add(made)

    def _submit(self, request: Request, number: str) -> str | None:
        if self._up:
            return self._scene.submit(self._client, request, number, lane="bedrock", egress="allow")
        return self._scene.submit(self._client, request, number)

    def _mark(self, number: int) -> str:
        return f"{OPEN if self._up else DENY}{number:012x}"


STORM = Storm("schemas", "a tenant whose checks would take for ever", rage)
