"""The figures of a report: as cells of a table, in words, and as JSON data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from forebay.producers.cli import display
from forebay.routing.errors import counted
from forebay.routing.overview.percentage import percentage

if TYPE_CHECKING:
    from forebay.routing.books.targets.targets import Target
    from forebay.routing.books.usage_report import Sums, UsageReport

HEADER = ("JOBS", "TOKENS IN", "TOKENS OUT", "DOLLARS", "SAVED", "DEGRADED", "CACHED")
TOP = 12  # reasons and checks that are shown
LEAST = 100_000  # billionths of a dollar, which four places can say


def document(found: UsageReport, targets: Sequence[Target]) -> dict[str, Any]:
    """Return the report as JSON data."""
    return {
        "since": display.iso(found.since_s), "until": display.iso(found.until_s), "by": found.by,
        "groups": {name: sums.row() for name, sums in sorted(found.groups.items())},
        "total": found.total.row(),
        "over_time": {
            display.iso(start): {lane: sums.row() for lane, sums in sorted(lanes.items())}
            for start, lanes in sorted(found.over_time.items())
        },
        "calls": {
            purpose: {"calls": number, "usd": nusd / 1e9}
            for purpose, (number, nusd) in sorted(found.calls.items())
        },
        "paid_usd": found.paid_nusd / 1e9, "unused_usd": found.unused_nusd / 1e9,
        "open_usd": found.open_nusd / 1e9,
        "mock_usd": found.mock_nusd / 1e9, "mock_unused_usd": found.mock_unused_nusd / 1e9,
        "calls_from": display.iso(found.calls_from_s) if found.calls_from_s else None,
        "all_frontier_usd": found.all_frontier_nusd / 1e9,
        "saved_usd": found.saved_nusd / 1e9, "frontier": found.frontier, "prices": found.prices,
        "escalation_reasons": dict(found.reasons.most_common()),
        "failed_checks": dict(found.checks.most_common()),
        "audits": {"agreed": found.audits[True], "differed": found.audits[False]},
        "audit_agreement": found.agreement, "targets": [target.row() for target in targets],
        "assumptions": found.assumptions(),
    }  # fmt: skip


def header(found: UsageReport) -> tuple[str, ...]:
    """Return the heads of the columns, of `PAID` and `BY MOCK` only those that say something."""
    return (
        *HEADER,
        *(["PAID"] if _shows_paid(found) else []),
        *(["BY MOCK"] if found.mock_nusd else []),
    )


def cells(found: UsageReport, sums: Sums) -> tuple[str, ...]:
    """Return some jobs' sums under the `header` of a report."""
    return (
        f"{sums.jobs:,}", f"{sums.tokens_in:,}", f"{sums.tokens_out:,}",
        _usd(sums.nusd), _usd(sums.saved_nusd),
        f"{sums.degraded:,}", f"{sums.cached:,}",
        *([_usd(sums.paid_nusd)] if _shows_paid(found) else []),
        *([_usd(sums.mock_nusd)] if found.mock_nusd else []),
    )  # fmt: skip


def _shows_paid(found: UsageReport) -> bool:
    """Return whether calls cost more than the answers did, and the rows can say so."""
    return found.by != "kind" and found.total.paid_nusd > found.total.nusd


def headlines(found: UsageReport) -> dict[str, str]:
    """Return the figures that matter most, in words."""
    audits = found.calls.get("audit", [0, 0])
    shown = {"paid for the frontier": _usd(found.paid_nusd, "$")}
    if audits[0]:
        shown[f"of it for audits ({counted(audits[0], 'call')})"] = _usd(audits[1], "$")
    if found.unused_nusd:
        shown["of it for answers not used"] = _usd(found.unused_nusd, "$")
    shown["all on the frontier"] = _usd(found.all_frontier_nusd, "$")
    shown["saved"] = _usd(found.saved_nusd, "$")
    if found.open_nusd:
        shown["reserved, outcome not known"] = _usd(found.open_nusd, "$")
    if found.mock_nusd:
        shown["billed by the mock, no money"] = _usd(found.mock_nusd, "$")
    if found.mock_unused_nusd:
        shown["of it audits, answers not used"] = _usd(found.mock_unused_nusd, "$")
    if found.agreement is not None:
        shown[f"of {found.audits.total():,} audits agreed"] = percentage(found.agreement, 1)
    return shown


def _usd(nusd: int, sign: str = "") -> str:
    """Return billionths of a dollar as dollars with four places; what these cannot say is no 0."""
    return f"< {sign}0.0001" if 0 < nusd < LEAST else f"{sign}{nusd / 1e9:,.4f}"
