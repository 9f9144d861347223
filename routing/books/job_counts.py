"""Names of the counts of jobs: what is counted, of whom, and by which values."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from forebay.routing.reasons import meaning

OTHERS = "(others)"
UNKNOWN_REASON = "other"


class JobGroup(NamedTuple):
    """What the jobs that are counted together have in common.

    Attributes:
        egress: `deny` if the content had to stay in the building when the job ended.
        state: how they ended.
        lane: where they were answered; empty without an answer.
        stand_in: the mock of Bedrock answered, so their cost is no money.
    """

    tenant: str
    kind: str
    egress: str
    state: str
    lane: str = ""
    model: str = ""
    stand_in: bool = False


def job_counts(group: JobGroup, **numbers: int) -> dict[str, int]:
    """Return the counts of jobs of a group: `jobs`, `tokens_in`, `tokens_out`, `nusd` and so on.

    `rows` says how many of the jobs are rows of bulks.
    """
    names = _names(group)
    return {names[what]: int(number) for what, number in numbers.items() if number}


def up_count(tenant: str, kind: str, reason: str) -> str:
    """Return the name of the count of jobs that went up for a reason."""
    return _name("up", tenant, kind, reason)


def worked_count(tenant: str, kind: str, queue: str) -> str:
    """Return the name of the count of jobs that a local worker worked to their end there."""
    return _name("worked", tenant, kind, queue)


def check_count(tenant: str, kind: str, check: str) -> str:
    """Return the name of the count of answers that failed a check."""
    return _name("check", tenant, kind, check)


def audit_count(tenant: str, kind: str, *, agreed: bool, stand_in: bool) -> str:
    """Return the name of the count of audits with one result."""
    return _name("audit", tenant, kind, agreed, stand_in)


def without_tenant(name: str) -> str:
    """Return the name of the same count for all tenants that are counted together."""
    what, _, *of = json.loads(name)
    return _name(what, OTHERS, *of)


def of_all_tenants(counts: Mapping[str, int]) -> Counter[str]:
    """Return the counts of the fleet as a whole that the history keeps; see `Minute.counts`."""
    sums: Counter[str] = Counter()
    for name, number in counts.items():
        match json.loads(name):
            case ["up", _, _, reason]:
                code = reason.partition(":")[0]
                sums[f"up:{code if meaning(code) else UNKNOWN_REASON}"] += number
            case ["job", _, _, _, state, lane, _, _, "jobs"]:
                sums[(lane or "local") if state == "done" else state] += number
            case ["job", *_, "degraded" | "cached" as quality]:
                sums[quality] += number
    return sums


class _Names(dict[str, str]):
    """The names of the counts of a group, by what is counted."""

    def __init__(self, group: JobGroup) -> None:
        super().__init__()
        self._group = group

    def __missing__(self, what: str) -> str:
        name = self[what] = _name("job", *self._group, what)
        return name


_names = lru_cache(maxsize=1024)(_Names)


# Most jobs are counted under the same few names.
@lru_cache(maxsize=4096, typed=True)
def _name(what: str, *of: object) -> str:
    return json.dumps([what, *of], separators=(",", ":"))
