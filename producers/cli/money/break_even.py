"""What tokens cost on hardware of one's own, and from how many a day on it is worth it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

DAYS_A_YEAR = 365
DAY_S = 86_400
MILLION = 1_000_000


class FrontierPrice(NamedTuple):
    """What a million tokens cost on the frontier, in dollars: of a prompt, and of an answer."""

    input_usd: float
    output_usd: float

    def blended(self, output_share: float) -> float:
        """Return the price of a million tokens of which this share are tokens of answers."""
        return self.input_usd * (1 - output_share) + self.output_usd * output_share


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that answers in the building.

    Attributes:
        hardware_usd: its price, paid at once.
        life_years: how long it is used; then it is worth nothing.
        watts: what it draws, day and night.
        kwh_usd: dollars for a kilowatt-hour.
        upkeep_usd: dollars a year for space, repair and people.
        tokens_per_s: tokens of prompts and answers in a second, measured with full batches.
        utilisation: the share of the day in which it is that busy.
    """

    hardware_usd: float
    life_years: float
    watts: float
    kwh_usd: float
    tokens_per_s: float
    utilisation: float
    upkeep_usd: float = 0.0

    @property
    def running_usd(self) -> float:
        """What it costs in a day to run it, once it is bought."""
        return self.watts / 1_000 * 24 * self.kwh_usd + self.upkeep_usd / DAYS_A_YEAR

    @property
    def usd_per_day(self) -> float:
        """What it costs in a day, its price included."""
        return self.hardware_usd / (self.life_years * DAYS_A_YEAR) + self.running_usd

    @property
    def most_per_day(self) -> float:
        """The most tokens that it makes in a day."""
        return self.tokens_per_s * DAY_S

    @property
    def tokens_per_day(self) -> float:
        """The tokens that it makes in a day, at its utilisation."""
        return self.most_per_day * self.utilisation


@dataclass(frozen=True, slots=True)
class BreakEven:
    """A machine beside the frontier.

    Attributes:
        machine: the machine.
        frontier_usd: dollars for a million tokens on the frontier, blended.
    """

    machine: Machine
    frontier_usd: float

    @property
    def local_usd(self) -> float:
        """Dollars for a million tokens on the machine, at its utilisation."""
        return self.machine.usd_per_day / self.machine.tokens_per_day * MILLION

    @property
    def tokens_per_day(self) -> float:
        """Tokens a day from which the machine costs less than the frontier."""
        if not self.frontier_usd:
            return math.inf
        return self.machine.usd_per_day / self.frontier_usd * MILLION

    @property
    def reachable(self) -> bool:
        """Whether the machine can make so many tokens in a day."""
        return self.tokens_per_day <= self.machine.most_per_day

    @property
    def saved_per_day(self) -> float:
        """Dollars a day that the machine saves against the frontier, its price left out."""
        frontier = self.machine.tokens_per_day / MILLION * self.frontier_usd
        return frontier - self.machine.running_usd

    @property
    def pay_back_days(self) -> float | None:
        """Days until the machine has paid for itself; `None` if it never does."""
        saved = self.saved_per_day
        return self.machine.hardware_usd / saved if saved > 0 else None
