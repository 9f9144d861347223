"""A queue before many equal slots: the share that waits, and for how long.

Jobs come one by one, each takes one slot, and whoever came first goes first. Wherever two symbols
help, they are those of the literature: `a` is the load in Erlangs (rate times mean service time),
`c` the number of slots.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


def erlang_c(slots: int, load: float) -> float:
    """Return the probability that a job has to wait in an M/M/c queue.

    The Erlang C formula, computed by the recursion of Erlang B, B(k) = aB(k-1) / (k + aB(k-1)),
    which cannot overflow (Cooper, Introduction to Queueing Theory, 2nd ed., 1981, sections 3.3
    and 3.5).

    Args:
        slots: how many jobs can be worked at once.
        load: the mean number of busy slots; less than `slots`.
    """
    blocked = 1.0
    for busy in range(1, slots + 1):
        blocked = load * blocked / (busy + load * blocked)
    return blocked / (1 - load / slots * (1 - blocked))


@dataclass(frozen=True, slots=True)
class SlotQueue:
    """A queue of jobs before slots.

    Attributes:
        rate: jobs that come in a second.
        service_s: the mean seconds that a job holds a slot.
        slots: how many jobs can be worked at once.
        service_cv2: the variance of the service time, over the square of its mean: 0 if all take
            equally long, 1 for an exponential distribution.
        arrival_cv2: the same for the time between two arrivals: 1 if jobs come independently.
    """

    rate: float
    service_s: float
    slots: int
    service_cv2: float = 1.0
    arrival_cv2: float = 1.0

    @property
    def load(self) -> float:
        """The mean number of busy slots."""
        return self.rate * self.service_s

    @property
    def busy(self) -> float:
        """The mean share of the slots that is busy; 1 or more if the queue grows without bound."""
        return self.load / self.slots

    @property
    def waits(self) -> float:
        """The share of jobs that find all slots busy."""
        return erlang_c(self.slots, self.load) if self.busy < 1 else 1.0

    @property
    def mean_wait_s(self) -> float:
        """The mean seconds until a job has a slot, over all jobs.

        Kimura's interpolation between equal and exponential service times, with Cosmetatos'
        approximation for equal ones (Kimura, "A two-moment approximation for the mean waiting time
        in the GI/G/s queue", Management Science 32, 1986). Against simulations of 1 to 16 slots it
        is within 3 % for `service_cv2` up to 1, and within 13 % for 4; the simpler formula of Allen
        and Cunneen is off by up to 20 % and 80 % there.
        """
        if self.busy >= 1:
            return math.inf
        exponential = self.waits * self.service_s / (self.slots - self.load)
        equal = 0.5 * exponential * (1 + self._cosmetatos())
        if not exponential:
            return 0.0
        spread = self.service_cv2
        wait = (1 + spread) / (2 * spread / exponential + (1 - spread) / equal)
        return wait * (self.arrival_cv2 + spread) / (1 + spread)

    def wait_s(self, share: float) -> float:
        """Return the seconds within which this share of the jobs has a slot.

        Those that wait at all wait about exponentially long (Tijms, A First Course in Stochastic
        Models, 2003, section 9.6).
        """
        if self.busy >= 1:
            return math.inf
        late = self.waits / (1 - share)
        return self.mean_wait_s / self.waits * math.log(late) if late > 1 else 0.0

    def _cosmetatos(self) -> float:
        busy, slots = self.busy, self.slots
        return (1 - busy) * (slots - 1) * (math.sqrt(4 + 5 * slots) - 2) / (16 * busy * slots)
