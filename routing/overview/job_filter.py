"""Which jobs an operator asks about."""

from __future__ import annotations

from dataclasses import dataclass

from forebay.routing.ledger.record import Record


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Chooses records of jobs; a field that is `None` chooses all.

    Attributes:
        states: any of these states; empty for all.
        code: the code of the job's last error.
        older_s, newer_s: at least, or at most, so many seconds since the job ended, or since it was
            submitted if it has not ended.
    """

    states: frozenset[str] = frozenset()
    queue: str | None = None
    tenant: str | None = None
    kind: str | None = None
    code: str | None = None
    older_s: float | None = None
    newer_s: float | None = None

    def matches(self, record: Record, now_ms: int) -> bool:
        """Return whether a job is one of those that are asked about."""
        age_s = (now_ms - (record.ended or record.created)) / 1000
        return (
            (not self.states or record.state in self.states)
            and self.queue in {None, record.queue}
            and self.tenant in {None, record.tenant}
            and self.kind in {None, record.kind}
            and self.code in {None, record.error}
            and (self.older_s is None or age_s >= self.older_s)
            and (self.newer_s is None or age_s <= self.newer_s)
        )
