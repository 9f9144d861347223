"""The figures of a run, and whether it passed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.table import Table

from books.evidence import Evidence
from books.finding import Finding, finding
from books.recovery import deaths, percentile, recoveries
from doom.points import POINTS
from forebay.routing.base import NANO
from ordeal.course import LEASE_S
from ordeal.options import Options

SLACK_S = 5.0  # seconds after the lease in which a job has to be given back
LLAMA_SHARE = 0.1  # share of all jobs that run on a real model


class Report:
    """Evaluates the evidence and prints it."""

    def __init__(self, options: Options, evidence: Evidence) -> None:
        self._options = options
        self._evidence = evidence
        found = list(recoveries(evidence.entries, evidence.journal))
        self._free = [one for one in found if not one.paid]
        self._paid = [one for one in found if one.paid]
        met = (d.point for d in deaths(evidence.entries) if evidence.journal.running(d.at))
        self._met = Counter(met)
        self.findings = [*evidence.findings, *self._own()]

    @property
    def well(self) -> bool:
        """True if every book balances."""
        return not any(found.wrong for found in self.findings)

    def _own(self) -> Iterator[Finding]:
        wanted = self._options.points
        short = (f"{point}: {self._met[point]}" for point in POINTS if self._met[point] < wanted)
        yield finding("named points met too rarely", short)
        slow = percentile(_known(one.seconds for one in self._free), 0.95)
        late = [f"{slow:.1f} s"] if slow > LEASE_S + SLACK_S else []
        yield finding("95 % of recoveries too slow", late)
        few = self._llama < LLAMA_SHARE * len(self._evidence.ends)
        yield finding("too few jobs on llama.cpp", [str(self._llama)] if few else [])

    @property
    def _llama(self) -> int:
        return sum(e.lane == "local" and e.model not in {None, "echo"} for e in self._evidence.ends)

    def show(self, console: Console) -> None:
        """Print two tables: the faults, and the books."""
        figures = Table("what happened", "", show_header=False, title=str(self._options))
        for name, value in self._figures():
            figures.add_row(name, value)
        console.print(figures)
        table = Table("book", "wrong", "for example")
        for found in self.findings:
            table.add_row(found.name, str(found.wrong), "\n".join(found.some))
        console.print(table)
        self._show_unknown(console)

    def _show_unknown(self, console: Console) -> None:
        """List the calls of unknown outcome one by one, with amounts in billionths of a dollar."""
        for each in self._evidence.unknown:
            console.print(
                f"unknown: call {each.call_id} of {each.job_id}: {each.reserved_nusd} reserved, "
                f"{each.billed_nusd} billed by the mock; {each.cause or 'nothing explains it'}"
            )

    def _figures(self) -> Iterator[tuple[str, str]]:
        evidence, ends = self._evidence, self._evidence.ends
        told, lives = evidence.told, evidence.journal.lives.values()
        yield "jobs accepted, doubtful", f"{len(told.accepted)}, {len(told.doubtful)}"
        if told.risked:
            lost = told.accepted & told.risked - {end.id for end in ends}
            yield "risked by the death of Redis' host", f"{len(told.risked)} jobs and calls"
            yield "lost with it", f"{len(lost)} jobs"
        yield "ended", _counts(end.status for end in ends)
        yield "failed with", _counts(end.error for end in ends if end.status == "failed")
        yield "answered by", _counts(f"{end.lane} {end.model}" for end in ends if end.lane)
        yield "claims", str(sum(change.state == "running" for life in lives for change in life))
        yield "done to the fleet", _counts(evidence.done.elements())
        yield "deaths with jobs in flight", _counts(self._met.elements())
        yield "calls to the mock", _counts(call["fault"] or "good" for call in evidence.calls)
        yield "billed by the mock", f"${evidence.billed_nusd / NANO:.9f}"
        yield "calls of unknown outcome, still reserved", str(len(evidence.unknown))
        for name, found in ("nothing", self._free), ("money", self._paid):
            yield f"given back, {name} reserved", _times(one.seconds for one in found)
            yield f"in other hands, {name} reserved", _times(one.again for one in found)


def _counts(words: Iterable[str | None]) -> str:
    return ", ".join(f"{word} {number}" for word, number in sorted(Counter(words).items(), key=str))


def _known(times: Iterable[float | None]) -> list[float]:
    return [seconds for seconds in times if seconds is not None]


def _times(times: Iterable[float | None]) -> str:
    seconds = _known(times)
    half, most, all_ = (percentile(seconds, share) for share in (0.5, 0.95, 1.0))
    return f"{len(seconds)} jobs; 50 % in {half:.1f} s, 95 % in {most:.1f} s, all in {all_:.1f} s"
