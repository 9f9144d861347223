"""What the jobs of a span of time came to: jobs, tokens and dollars, and what was saved.

Dollars of the mock of Bedrock are no money: they are added up apart, and never with others.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from forebay.routing.base import NANO
from forebay.routing.books.call_book import CallRecord
from forebay.routing.books.job_book import Count
from forebay.routing.books.job_counts import JobGroup
from forebay.routing.lanes import BEDROCK
from forebay.routing.limits.prices import Prices, Usage

By = Literal["lane", "kind", "tenant", "model", "day"]
#: Up to so many seconds are shown by the hour, longer spans by the day.
BY_THE_HOUR_S = 3 * 86_400
NO_ANSWER, MOCK = "no answer", "mock"


@dataclass(slots=True)
class Sums:
    """What some jobs came to, in billionths of a dollar.

    Attributes:
        nusd: what their answers cost.
        paid_nusd: what all their calls cost, those of audits and of answers not used included.
        mock_nusd: what the mock billed for their answers, which is no money.
    """

    jobs: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    nusd: int = 0
    paid_nusd: int = 0
    mock_nusd: int = 0
    degraded: int = 0
    cached: int = 0
    saved_nusd: int = 0

    def add(self, what: str, number: int, *, mock: bool) -> None:
        """Add a count of the book of jobs."""
        name = "mock_nusd" if mock and what == "nusd" else what
        if hasattr(self, name):
            setattr(self, name, getattr(self, name) + number)

    def row(self) -> dict[str, Any]:
        """Return the sums as JSON data, with money in dollars."""
        return {
            "jobs": self.jobs, "tokens_in": self.tokens_in, "tokens_out": self.tokens_out,
            "usd": self.nusd / NANO, "paid_usd": self.paid_nusd / NANO,
            "mock_usd": self.mock_nusd / NANO, "degraded": self.degraded, "cached": self.cached,
            "saved_usd": self.saved_nusd / NANO,
        }  # fmt: skip


@dataclass(slots=True)
class Paced:
    """The answered jobs that might leave; `went_up` of them were answered on the frontier."""

    jobs: int = 0
    went_up: int = 0

    @property
    def share(self) -> float | None:
        """The share that went up."""
        return self.went_up / self.jobs if self.jobs else None


@dataclass(slots=True)
class UsageReport:
    """The figures of a report.

    Attributes:
        frontier: the model by whose price the savings are computed.
        by: what `groups` are, each with its sums.
        over_time: by the start of an hour or a day (Unix seconds), then by lane.
        calls: real calls by purpose: how many, and what they cost in billionths of a dollar.
        open_nusd: reserved for calls whose outcome is not known.
        mock_nusd: what the mock billed for all its calls.
        calls_from_s: since when all calls are known, in Unix seconds; older ones were removed.
        reasons: why jobs went up; checks: the checks that answers failed.
        audits: results of audits: agreed and not; the mock's are left out.
        paced: by tenant, the jobs that a target is about.
    """

    since_s: float
    until_s: float
    frontier: str
    prices: str
    by: By
    step_s: int
    groups: dict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    over_time: dict[int, dict[str, Sums]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(Sums))
    )
    total: Sums = field(default_factory=Sums)
    calls: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    open_nusd: int = 0
    mock_nusd: int = 0
    calls_from_s: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    audits: Counter[bool] = field(default_factory=Counter)
    paced: dict[str, Paced] = field(default_factory=lambda: defaultdict(Paced))

    @property
    def paid_nusd(self) -> int:
        """What all real calls cost: of answers, of audits, and of answers that were not used."""
        return sum(nusd for _, nusd in self.calls.values())

    @property
    def unused_nusd(self) -> int:
        """What calls cost whose answers failed their checks, or whose jobs were gone by then."""
        return max(0, self.paid_nusd - self.calls.get("audit", [0, 0])[1] - self.total.nusd)

    @property
    def mock_unused_nusd(self) -> int:
        """What the mock billed for audits, and for answers that were not used."""
        return max(0, self.mock_nusd - self.total.mock_nusd)

    @property
    def all_frontier_nusd(self) -> int:
        """What the same answers would have cost if the frontier had given all of them."""
        return self.paid_nusd - self.calls.get("audit", [0, 0])[1] + self.total.saved_nusd

    @property
    def saved_nusd(self) -> int:
        """What is saved against that: audits are a cost of the local lane."""
        return self.all_frontier_nusd - self.paid_nusd

    @property
    def agreement(self) -> float | None:
        """The share of audited answers that the frontier agreed with."""
        audited = self.audits.total()
        return self.audits[True] / audited if audited else None

    def assumptions(self) -> list[str]:
        """Return what the savings rest on."""
        return [
            f"A local answer is priced as a call of {self.frontier} with as many tokens.",
            f"Prices are those of the list {self.prices}, default tier, no prompt caching.",
            "Tokens are those of the local tokenizer, and include those of second opinions.",
            "A job is priced at the mean length of the jobs that are counted with it.",
            "Hardware and electricity are not in it: `forebay tco` has them.",
            "What the mock of Bedrock billed is no money, and its answers save nothing.",
            *([gap_in_calls(self.calls_from_s)] if self.calls_from_s else []),
        ]


def gap_in_calls(from_s: float) -> str:
    """Return what is missing if the book of calls begins only then."""
    begins = datetime.fromtimestamp(from_s, UTC).isoformat(timespec="seconds")
    return (
        f"Calls before {begins} are MISSING here: Redis keeps about FOREBAY_BOOKS_CALLS of them; "
        "`forebay spend export` from cron keeps all."
    )


def usage_report(
    counts: Iterable[Count],
    calls: Sequence[CallRecord],
    prices: Prices,
    frontier: str,
    span: tuple[float, float],
    *,
    by: By = "lane",
    tenant: str | None = None,
) -> UsageReport:
    """Add up the counts of jobs and the calls of a span of time, of one tenant or of all.

    Raises:
        NoPrice: The frontier model has no price.
    """
    step_s = 3_600 if span[1] - span[0] <= BY_THE_HOUR_S else 86_400
    report = UsageReport(*span, frontier, prices.version, by, step_s)
    prices.worst_case(frontier, 1, 1)  # a model without a price is an error before anything else
    local: dict[tuple[int, JobGroup], Sums] = defaultdict(Sums)
    for count in counts:
        if tenant not in {None, count.of[0]}:
            continue
        if count.what != "job":
            _add_other(report, count)
            continue
        group, what = JobGroup(*count.of[:-1]), count.of[-1]
        _add(report, count.hour_s, group, what, count.number)
        if group.kind != "embed":
            _add_paced(report, group, what, count.number)
            if group.lane == "local":
                local[count.hour_s, group].add(what, count.number, mock=False)
    for (hour_s, group), sums in local.items():
        _add(report, hour_s, group, "saved_nusd", _saved(sums, prices, frontier))
    for call in calls:
        if tenant in {None, call.tenant}:
            _add_call(report, call)
    return report


def _add(report: UsageReport, hour_s: int, group: JobGroup, what: str, number: int) -> None:
    lane = MOCK if group.stand_in else group.lane or NO_ANSWER
    start = hour_s // report.step_s * report.step_s
    keys = {
        "lane": lane, "kind": group.kind, "tenant": group.tenant,
        "model": group.model or NO_ANSWER, "day": _day(hour_s),
    }  # fmt: skip
    places = (report.groups[keys[report.by]], report.over_time[start][lane], report.total)
    for sums in places:
        sums.add(what, number, mock=group.stand_in)


def _add_paced(report: UsageReport, group: JobGroup, what: str, number: int) -> None:
    """Count the answered jobs that a pace is about."""
    if what == "jobs" and group.egress == "allow" and group.lane:
        paced = report.paced[group.tenant]
        paced.jobs += number
        paced.went_up += number if group.lane == "bedrock" else 0


def _add_other(report: UsageReport, count: Count) -> None:
    if count.what == "up":
        report.reasons[count.of[2]] += count.number
    elif count.what == "check":
        report.checks[count.of[2]] += count.number
    elif count.what == "audit" and not count.of[3]:
        report.audits[count.of[2]] += count.number


def _add_call(report: UsageReport, call: CallRecord) -> None:
    if call.stand_in:
        report.mock_nusd += call.settled_nusd
    elif call.state == "open":
        report.open_nusd += call.reserved_nusd
    elif call.state == "settled":
        entry = report.calls[call.purpose]
        entry[0] += 1
        entry[1] += call.settled_nusd
        report.total.paid_nusd += call.settled_nusd
        keys = {
            "lane": BEDROCK, "tenant": call.tenant, "model": call.model,
            "day": _day(call.at_ms // 1_000),
        }  # fmt: skip
        if report.by in keys:  # a call does not say of which kind its job is
            report.groups[keys[report.by]].paid_nusd += call.settled_nusd


def _saved(sums: Sums, prices: Prices, frontier: str) -> int:
    """Return what these local answers would have cost on the frontier."""
    answered = sums.jobs - sums.cached
    if answered <= 0:
        return 0
    mean = Usage(round(sums.tokens_in / answered), round(sums.tokens_out / answered))
    return prices.cost(frontier, mean) * answered


def _day(hour_s: int) -> str:
    return datetime.fromtimestamp(hour_s, UTC).date().isoformat()
