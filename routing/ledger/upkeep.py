"""The upkeep of the ledger: sweeps, repairs, the scripts in Redis, and who serves which queue."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any, NamedTuple

import redis

from forebay.routing.errors import ForebayError, RedisUnavailable
from forebay.routing.ledger.reader import LedgerReader
from forebay.routing.settings import Settings
from forebay.routing.store.connection import reaching_redis, text_of
from forebay.routing.store.scripts import load_all

EXPRESS = "fb:express:"  # begins the name of the list of a queue's express doorbells
MAX_UNHEARD = 100  # claims whose replies were lost, whose jobs are still to be given back
_SERVED_KEPT_MS = 3_600_000  # for so long Redis remembers that a queue was served


class Swept(NamedTuple):
    """What one sweep did.

    Attributes:
        back: jobs given back because their lease had run out.
        dead: jobs ended because no attempts were left, or because their record is damaged.
        due: jobs queued again because their retry time had come.
        expired: jobs ended because their deadline had passed.
        rung: doorbells rung.
        full: percentage of memory in use, if new jobs are refused because of it; otherwise 0.
        moved: the ids of the jobs that were given back, are dead, have expired or were cancelled
            while they waited.
    """

    back: int
    dead: int
    due: int
    expired: int
    rung: int
    full: int
    moved: tuple[str, ...] = ()


class Newcomer(NamedTuple):
    """A tenant of whom an interactive job came to a queue where none of its own waited."""

    queue: str
    tenant: str


class LedgerUpkeep(LedgerReader):
    """The upkeep of one ledger. Safe to share between threads."""

    def __init__(
        self, client: redis.Redis, settings: Settings, bell: str | Callable[[], str]
    ) -> None:
        """`bell` is the doorbell's template, or makes it (`forebay.routing.broker.doorbell`)."""
        super().__init__(client, settings)
        self._given_bell = bell
        self._retention_ms = int(settings.retention_s * 1000)
        self._lease_ms = int(settings.lease_s * 1000)
        self._unheard: list[str] = []  # nonces of claims whose replies were lost

    @cached_property
    def bell(self) -> str:
        """The doorbell's template, made when it is first needed."""
        return self._given_bell if isinstance(self._given_bell, str) else self._given_bell()

    def share_round_trips(self) -> None:
        """Have the threads of this process share round trips; not for an event loop."""
        self._transitions.share_round_trips()

    def load_scripts(self) -> None:
        """Load the scripts that Redis does not have: producers may run them and not load them."""
        with reaching_redis():
            load_all(self.redis)

    def serve(self, worker: str, queues: Iterable[str], for_s: float, about: str = "") -> bytes:
        """Record that a worker serves these queues for the next `for_s` seconds.

        `about` is what it says of itself, as JSON (`WorkerStatus`). Return since when Redis has had
        its data; empty if this user of Redis may not know it.
        """
        self.load_scripts()
        for_ms = int(for_s * 1000)
        born: bytes = self._transitions.run(
            "serve", worker, for_ms, _SERVED_KEPT_MS, about, *queues
        )
        return born

    def ring(self, queue: str) -> None:
        """Ring a doorbell of a queue anew, for another worker than the one that got it."""
        self._transitions.run("ring", queue, self.bell)

    def newcomer(self, queues: Sequence[str], within_s: float) -> Newcomer | None:
        """Wait for the express doorbell of a queue; return `None` if none is rung in this time."""
        with reaching_redis():
            rung: Any = self.redis.brpop([EXPRESS + queue for queue in queues], within_s)
        return Newcomer(text_of(rung[0]).removeprefix(EXPRESS), text_of(rung[1])) if rung else None

    def sweep(self, limit: int = 500) -> Swept:
        """Run one bounded batch of upkeep; see `lua/sweep.lua`."""
        self.load_scripts()
        settings = self.settings
        *counts, moved = self._transitions.run(
            "sweep", limit, settings.max_attempts, self._retention_ms, self.bell,
            settings.memory_limit, int(max(5.0, 10 * settings.sweep_s) * 1000),
            settings.tenant_share,
        )  # fmt: skip
        return Swept._make([*counts, tuple(map(text_of, moved))])

    def repair(
        self, cursor: int = 0, limit: int = 500, counted: bytes = b"{}"
    ) -> tuple[int, int, bytes]:
        """Repair what leads to the jobs, one bounded step; see `lua/repair.lua`.

        Returns:
            The cursor of the next step, 0 after the last; how many jobs were repaired; and what
            was counted so far, to be passed to the next step.
        """
        following, repaired, counted = self._transitions.run(
            "repair", cursor, limit, self.bell, self._lease_ms, counted
        )
        return int(following), repaired, counted

    def _run_claim(self, queue: str, *arguments: Any) -> Any:
        """Run `claim.lua`, and return its reply.

        If a reply was lost, the jobs of that claim are given back: they would wait for the end of
        their leases, and lose an attempt, though no worker had them.
        """
        nonce, repeated = secrets.token_hex(8), self._transitions.repeated
        try:
            reply = self._transitions.run("claim", queue, nonce, *arguments)
        except RedisUnavailable:
            self._unheard = [*self._unheard[1 - MAX_UNHEARD :], nonce]
            raise
        unheard, self._unheard = self._unheard, []
        if self._transitions.repeated != repeated:
            self._disown(nonce, *(job_id for job_id, *_ in reply))
        for lost in unheard:
            self._disown(lost)
        return reply

    def _disown(self, nonce: str, *kept: bytes) -> None:
        with suppress(ForebayError):  # their leases end
            self._transitions.run("disown", nonce, self.bell, *kept)
