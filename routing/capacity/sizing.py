"""How many workers a load needs, so that jobs wait no longer than is wanted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, pvariance

from forebay.routing.capacity.queueing import SlotQueue

MAX_WORKERS = 10_000
_STEPS = 50  # of the search for the largest rate; each halves what is uncertain


@dataclass(frozen=True, slots=True)
class Load:
    """The jobs that come, and how long they take.

    Attributes:
        rate: jobs that come in a second.
        service_s, service_cv2: mean and squared coefficient of variation of the service time.
        arrival_cv2: that of the time between two arrivals.
    """

    rate: float
    service_s: float
    service_cv2: float = 1.0
    arrival_cv2: float = 1.0

    @classmethod
    def of(cls, rate: float, service_times: Sequence[float], arrival_cv2: float = 1.0) -> Load:
        """Return the load of jobs with these service times, in seconds; there is at least one."""
        mean = fmean(service_times)
        return cls(rate, mean, pvariance(service_times, mean) / mean**2, arrival_cv2)


@dataclass(frozen=True, slots=True)
class Target:
    """What is wanted: this share of the jobs starts within so many seconds."""

    wait_s: float
    share: float = 0.95

    def met_by(self, queue: SlotQueue) -> bool:
        """Return whether the queue is short enough."""
        return queue.busy < 1 and queue.wait_s(self.share) <= self.wait_s


@dataclass(frozen=True, slots=True)
class Size:
    """What a number of workers does with a load.

    Attributes:
        workers: how many.
        queue: the queue before their slots.
        meets: whether jobs wait no longer than is wanted.
        most_rate: the most jobs in a second with which they would still wait no longer.
    """

    workers: int
    queue: SlotQueue
    meets: bool
    most_rate: float


def sizes(load: Load, slots: int, target: Target, more: int = 2) -> Iterator[Size]:
    """Yield what each number of workers does: from the first that keeps up to `more` past the goal.

    Args:
        load: the jobs.
        slots: the slots of one worker.
        target: the goal.
        more: how many workers are shown past it, to say what one more buys.
    """
    workers, past = max(1, int(load.rate * load.service_s / slots)), 0
    while past <= more and workers <= MAX_WORKERS:
        queue = SlotQueue(
            load.rate, load.service_s, workers * slots, load.service_cv2, load.arrival_cv2
        )
        meets = target.met_by(queue)
        past += meets
        yield Size(workers, queue, meets, most_rate(queue, target))
        workers += 1


def most_rate(queue: SlotQueue, target: Target) -> float:
    """Return the most jobs in a second with which these slots still meet the target."""
    low, high = 0.0, queue.slots / queue.service_s
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if target.met_by(replace(queue, rate=middle)):
            low = middle
        else:
            high = middle
    return low
