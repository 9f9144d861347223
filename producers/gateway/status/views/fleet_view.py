"""What the page shows of a fleet at one moment."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from forebay.producers.gateway.status.views.dead_letters import DeadLetters
from forebay.routing.books.job_history import Minute
from forebay.routing.books.targets.refusals import Refusals
from forebay.routing.bulk.bulks import BulkRecord
from forebay.routing.lanes import SWEEP
from forebay.routing.limits.pauses import Pause
from forebay.routing.overview.snapshot import QueueLine, Snapshot
from forebay.routing.overview.workers import SeenWorker

HOUR = 60  # minutes whose counts are added up
UP = "up:"


class BudgetLine(NamedTuple):
    """Today's money of a tenant, or of the fleet (`*`), in billionths of a dollar."""

    owner: str
    spent: int
    reserved: int
    budget: int | None

    @property
    def left(self) -> int | None:
        """What is left of the budget; `None` if there is no limit."""
        if self.budget is None:
            return None
        return max(0, self.budget - self.spent - self.reserved)


class WorkerLine(NamedTuple):
    """A worker that was seen in the last hour and did not end in order.

    Attributes:
        seen: what it says of itself, and when it was last seen.
        paused: why it takes no jobs at present; empty if it takes some.
    """

    seen: SeenWorker
    paused: str

    @property
    def takes_jobs(self) -> bool:
        """Whether it works on jobs: a sweeper does not."""
        return self.seen.status.queues != (SWEEP,)


class LastHour(NamedTuple):
    """The counts of the last hour, added up."""

    counts: Counter[str]

    @classmethod
    def of(cls, minutes: list[Minute]) -> LastHour:
        """Add up the last minutes."""
        counts: Counter[str] = Counter()
        for minute in minutes[-HOUR:]:
            counts.update(minute.counts)
        return cls(counts)

    @property
    def answered(self) -> int:
        """Jobs that got an answer, on either lane."""
        return self.counts["local"] + self.counts["bedrock"]

    @property
    def share_up(self) -> float | None:
        """Share of the answers that came from Bedrock; `None` if there were none."""
        return self.counts["bedrock"] / self.answered if self.answered else None

    @property
    def reasons(self) -> list[tuple[str, int]]:
        """Why jobs went up, the most frequent reason first."""
        ups = Counter(
            {
                name.removeprefix(UP): number
                for name, number in self.counts.items()
                if name.startswith(UP)
            }
        )
        return ups.most_common()


@dataclass(frozen=True, slots=True)
class FleetView:
    """All that the page shows.

    Attributes:
        at_ms: the time by Redis' clock.
        tenant: whose part of the fleet it is; `None` for all of it.
        fleet: the whole fleet; `None` for one tenant.
        workers: the workers, by name.
        hour: what ended in the last hour.
        has_history: false before the sweeper has kept a first sample.
        budgets: today's money, the fleet's first.
        refused: the budgets that refused calls in the last hour.
        dead: the dead letters.
        bulks: the newest bulks, those that run first.
        pauses: what an operator holds back.
    """

    at_ms: int
    tenant: str | None
    fleet: Snapshot | None
    workers: tuple[WorkerLine, ...]
    hour: LastHour
    has_history: bool
    budgets: tuple[BudgetLine, ...]
    refused: tuple[Refusals, ...]
    dead: DeadLetters
    bulks: tuple[BulkRecord, ...]
    pauses: tuple[Pause, ...]

    @property
    def mocked(self) -> bool:
        """Whether the fleet calls the mock of Bedrock, so that what was spent is no money."""
        return self.fleet is not None and self.fleet.mocked

    @property
    def queues(self) -> tuple[QueueLine, ...]:
        """The queues that hold jobs."""
        lines = self.fleet.queues if self.fleet else ()
        return tuple(line for line in lines if line.queue != SWEEP)

    @property
    def waiting(self) -> int:
        """Jobs that wait, in all queues."""
        return sum(sum(line.waiting.values()) for line in self.queues)

    @property
    def oldest_s(self) -> float:
        """Seconds that the oldest waiting job has waited."""
        return max((line.oldest_s for line in self.queues), default=0.0)

    @property
    def running(self) -> int:
        """Jobs that workers hold."""
        return sum(line.running for line in self.queues)

    @property
    def live_workers(self) -> tuple[SeenWorker, ...]:
        """The workers that take jobs now."""
        return tuple(
            line.seen
            for line in self.workers
            if line.takes_jobs and line.seen.state in {"working", "idle"}
        )

    @property
    def slots(self) -> int:
        """Jobs that the live workers can really work at once."""
        return sum(worker.status.slots for worker in self.live_workers)
