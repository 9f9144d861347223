"""A storm: what goes wrong beside the jobs of others, and what its attacker is given."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from books.diary import Diary
from forebay.producers.client import Client
from forebay.routing.errors import CallerError, ForebayError, Unavailable
from forebay.routing.jobs import Request
from forebay.routing.settings import Settings

ATTACKER = "vandal"  # the tenant of the attacker
#: What the mock does while nothing is wrong: it answers after half a second, as a frontier model
#: that is asked for a few words.
CALM = {"slow:0.5": 1.0}
AGAIN_S = 0.1  # until a refused job is submitted again


@dataclass(frozen=True, slots=True)
class Context:
    """The means of an attacker.

    Attributes:
        settings: with the URL of Redis, for the attacker's own user if the fleet has users.
        mock_url: the mock of Bedrock, whose faults the attacker may plan.
        told: the diary of the producers, for jobs that the attacker expects to end.
        dice: seeded.
        until: Unix time of the end.
    """

    settings: Settings
    mock_url: str
    told: Diary
    dice: random.Random
    until: float

    @property
    def over(self) -> bool:
        """True once the storm has to end."""
        return time.time() >= self.until

    def submit(
        self, client: Client, request: Request, number: str, **options: object
    ) -> str | None:
        """Submit a job as any client does; write to the diary what became of it."""
        try:
            job = client.job(request, **options)  # type: ignore[arg-type]
            self.told.note("tried", job.id, number)
            made = client.submit(job)
        except (CallerError, Unavailable):
            return None  # refused: too complex, or no room
        self.told.note("accepted", made, number)
        return str(made)


@dataclass(frozen=True, slots=True)
class Storm:
    """A storm.

    Attributes:
        name: how the command line names it.
        about: what goes wrong, in one line.
        attack: makes it go wrong until `Context.until`, in a process of its own.
        spares: the lanes that it must not slow down.
        redis: options of Redis that differ.
        env: variables of all parts that differ.
        policy: what stands in the policy file besides.
        guarded: each tenant and each role has its own user of Redis (`deploy/redis_acl.py`).
    """

    name: str
    about: str
    attack: Callable[[Context], None]
    spares: tuple[str, ...] = ("local", "bedrock")
    redis: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    policy: str = ""
    guarded: bool = False


def patiently(put: Callable[[], str], until: float) -> str | None:
    """Submit until it is accepted, as a determined client does; None if it never was."""
    while True:
        try:
            return put()
        except ForebayError:
            if time.time() > until:
                return None
            time.sleep(AGAIN_S)
