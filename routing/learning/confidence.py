"""How well predictions were calibrated: verdict and doubt against the last audits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import redis

from forebay.routing.base import Kind
from forebay.routing.learning.audits import Audit, latest

#: Audits of a tenant and kind that are looked at, the newest.
LAST = 500
#: Audits that are read for all tenants together.
MAX_READ = 5_000
BINS = 10  # of the calibration error, of equal mass

Pair = tuple[float, float]  # a predicted probability, and what came true


@dataclass(frozen=True, slots=True)
class Confidence:
    """What the last audits of one tenant and kind show.

    Attributes:
        audits: how many there are.
        stand_in: how many more there are by the mock of Bedrock, which are left out.
        outcome: the mean outcome of the local answers, 0 to 1.
        verdict_ece: the expected calibration error of the verdict.
        doubt_ece: that of the doubt. `None` if no audit has a doubt.
        doubts: how many audits have one.
    """

    tenant: str
    kind: Kind
    audits: int
    stand_in: int
    outcome: float | None
    verdict_ece: float | None
    doubt_ece: float | None
    doubts: int


@dataclass(slots=True)
class _Tally:
    verdicts: list[Pair] = field(default_factory=list)
    doubts: list[Pair] = field(default_factory=list)
    outcomes: list[float] = field(default_factory=list)
    stand_in: int = 0

    def add(self, audit: Audit) -> None:
        if audit.stand_in:
            self.stand_in += 1
        elif len(self.outcomes) < LAST:
            self.outcomes.append(audit.outcome)
            if audit.sampled:
                self.verdicts.append((audit.probability, audit.outcome))
            if audit.doubt is not None:
                self.doubts.append((audit.doubt, audit.gap))


def confidences(client: redis.Redis) -> list[Confidence]:
    """Return what the last audits show, by tenant and kind.

    Raises:
        Unavailable: Redis cannot be reached.
    """
    tallies: dict[tuple[str, Kind], _Tally] = {}
    for audit in latest(client, MAX_READ):
        tallies.setdefault((audit.tenant, audit.kind), _Tally()).add(audit)
    return [_confidence(*key, tally) for key, tally in sorted(tallies.items())]


def _confidence(tenant: str, kind: Kind, tally: _Tally) -> Confidence:
    outcomes = tally.outcomes
    return Confidence(
        tenant, kind, len(outcomes), tally.stand_in,
        outcome=sum(outcomes) / len(outcomes) if outcomes else None,
        verdict_ece=calibration_error(tally.verdicts), doubt_ece=calibration_error(tally.doubts),
        doubts=len(tally.doubts),
    )  # fmt: skip


def calibration_error(pairs: Sequence[Pair]) -> float | None:
    """Return the expected calibration error over bins of equal mass; `None` without pairs.

    Equal probabilities get their mean truth, so that their order does not matter.
    """
    if not pairs:
        return None
    ordered = list(_levelled(sorted(pairs)))
    off = [0.0] * BINS
    for place, (predicted, truth) in enumerate(ordered):
        off[int(BINS * (place + 0.5) / len(ordered))] += truth - predicted
    return sum(map(abs, off)) / len(ordered)


def _levelled(pairs: Iterable[Pair]) -> Iterator[Pair]:
    for predicted, group in groupby(pairs, key=lambda pair: pair[0]):
        truths = [truth for _, truth in group]
        yield from [(predicted, sum(truths) / len(truths))] * len(truths)
