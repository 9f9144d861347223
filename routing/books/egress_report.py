"""What an auditor asks: how many jobs had to stay, and what left, by whose leave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from forebay.routing.books.egress_entry import Entry
from forebay.routing.books.job_book import Count
from forebay.routing.errors import counted


@dataclass(slots=True)
class EgressReport:
    """What left in a span of time.

    Attributes:
        stayed: jobs whose content had to stay, by tenant.
        allowed: jobs whose content might leave, by tenant.
        jobs_left: the jobs whose content did leave, by id.
        calls: what left, by tenant, model, region, the caller's word and the policy's version.
        denied_left: the entries of content that nobody allowed to leave. There must be none.
        tokens: the most tokens that left.
        from_s: since when all entries are known, in Unix seconds, if older ones are missing.
    """

    stayed: Counter[str] = field(default_factory=Counter)
    allowed: Counter[str] = field(default_factory=Counter)
    jobs_left: set[str] = field(default_factory=set)
    calls: Counter[tuple[str, str, str, str, str]] = field(default_factory=Counter)
    denied_left: list[Entry] = field(default_factory=list)
    tokens: int = 0
    from_s: float = 0.0

    @property
    def jobs(self) -> int:
        """Jobs that had to stay, that might leave, or that left."""
        return self.stayed.total() + self.allowed.total() + len(self.jobs_left)

    def document(self) -> dict[str, Any]:
        """Return the report as JSON data."""
        names = ("tenant", "model", "region", "said", "policy")
        return {
            "jobs_that_had_to_stay": dict(self.stayed),
            "of_them_left": len(self.denied_left),
            "jobs_that_might_leave": dict(self.allowed),
            "jobs_that_left": len(self.jobs_left),
            "calls": [
                {**dict(zip(names, key, strict=True)), "calls": number}
                for key, number in sorted(self.calls.items())
            ],
            "tokens_at_most": self.tokens,
            "entries_from": _iso(self.from_s) if self.from_s else None,
        }

    def lines(self) -> Iterator[str]:
        """Yield the report as lines for people."""
        left = len(self.denied_left)
        verdict = "none of them left" if not left else f"{left:,} OF THEM LEFT"
        verdict += f", by the entries since {_iso(self.from_s)}" if self.from_s else ""
        yield f"{counted(self.stayed.total(), 'job')} had to stay (egress deny): {verdict}."
        for entry in self.denied_left:
            yield f"  entry {entry.seq}: job {entry.leaving.job} to {entry.leaving.model}"
        calls = self.calls.total()
        yield (
            f"{counted(self.allowed.total(), 'job')} might leave (egress allow): "
            f"{len(self.jobs_left):,} "
            f"did, in {counted(calls, 'call')} with at most {self.tokens:,} tokens."
        )
        for (tenant, model, region, said, policy), number in sorted(self.calls.items()):
            yield (
                f"  {counted(number, 'call')} of {tenant} to {model} in {region}: "
                f"the caller said {said}, policy {policy} did not forbid it"
            )


def egress_report(
    entries: Iterable[Entry],
    counts: Iterable[Count],
    *,
    oldest: Entry | None,
    since_ms: int,
    until_ms: int,
    tenant: str | None = None,
) -> EgressReport:
    """Add up the entries of the egress log and the counts of jobs, of one tenant or of all.

    `oldest` is the oldest entry that is known, also if it is older than `since_ms`.
    """
    report = EgressReport()
    if oldest and oldest.seq > 1 and oldest.at_ms > since_ms:
        report.from_s = oldest.at_ms / 1_000
    for count in counts:
        if count.what == "job" and count.of[-1] == "jobs" and tenant in {None, count.of[0]}:
            stays = report.stayed if count.of[2] == "deny" else report.allowed
            stays[count.of[0]] += count.number
    for entry in entries:
        leaving = entry.leaving
        if not since_ms <= entry.at_ms < until_ms or tenant not in {None, leaving.tenant}:
            continue
        report.jobs_left.add(leaving.job)
        report.tokens += leaving.tokens
        why = (leaving.tenant, leaving.model, leaving.region, leaving.said, leaving.policy)
        report.calls[why] += 1
        if leaving.said != "allow":
            report.denied_left.append(entry)
    return report


def _iso(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds")
