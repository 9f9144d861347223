"""Findings of the books, and the replies that the producers got."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from books.diary import Entry

RISK_S = 2.0  # Redis syncs every second, and documents that a sync may take one more


@dataclass(frozen=True, slots=True)
class Finding:
    """One book: the number of its wrong entries, which should be 0, and some of them."""

    name: str
    wrong: int
    some: tuple[str, ...] = field(default=())


def finding(name: str, wrong: Iterable[str]) -> Finding:
    """Count the wrong entries of a book."""
    found = list(wrong)
    return Finding(name, len(found), tuple(found[:5]))


@dataclass(frozen=True, slots=True)
class Told:
    """The replies that the producers got.

    Attributes:
        accepted: jobs that must end.
        doubtful: jobs that were tried, with no answer to the submit: they may exist or not.
        risked: jobs and calls with a write in the last moments before Redis' host died, while Redis
            synced once a second: no promise holds for these moments.
        wrong: jobs about which a producer was told something impossible.
        forger: a tenant that writes its own records, so nothing is promised about its jobs.
    """

    accepted: set[str]
    doubtful: set[str]
    risked: set[str] = field(default_factory=set)
    wrong: tuple[str, ...] = ()
    forger: str = ""

    @classmethod
    def read(cls, told: Sequence[Entry], entries: Sequence[Entry]) -> Told:
        """Read the diary of the producers, `told`, and that of all other processes."""
        said: defaultdict[str, set[str]] = defaultdict(set)
        for entry in told:
            said[entry.what].add(entry.about)
        ends = [entry.at for entry in entries if entry.what == "host"]
        late = [
            entry for entry in (*told, *entries)
            if any(end - RISK_S <= entry.at <= end for end in ends)
        ]  # fmt: skip
        risked = {name for entry in late for name in (entry.about, entry.more)}
        accepted = said["accepted"]
        return cls(accepted, said["tried"] - accepted, risked, tuple(said["wrong"] - risked))

    def forged(self, job_id: str) -> bool:
        """Return whether the job may be forged."""
        return bool(self.forger) and job_id.startswith(f"{self.forger}.")

    @property
    def all(self) -> set[str]:
        """Every job that may exist."""
        return self.accepted | self.doubtful
