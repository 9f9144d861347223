"""What of a fleet needs an operator's attention, in words, the worst first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from forebay.producers.gateway.status.views.fleet_view import BudgetLine, FleetView
from forebay.producers.gateway.status.views.wording import dollars, moment, percent, span
from forebay.routing.errors import counted
from forebay.routing.lanes import start_command
from forebay.routing.overview.snapshot import Snapshot
from forebay.routing.overview.workers import emptied_at

LATE_S = 600.0  # a job that has waited so long is late
FULL = 0.85  # share of Redis' memory above which new jobs are refused by default
NEARLY_SPENT = 0.8  # share of a budget


class Problem(NamedTuple):
    """One thing to look at.

    Attributes:
        level: `bad` if jobs are held up or lost to their senders, `warn` if they may soon be.
        words: what is the matter.
        hint: what to do about it; may be empty.
        section: the part of the page that shows it.
    """

    level: Literal["bad", "warn"]
    words: str
    hint: str
    section: str


def problems(view: FleetView) -> list[Problem]:
    """Return what needs attention, the worst first."""
    found = [*_of_fleet(view), *_of_money(view), *_of_dead(view)]
    return sorted(found, key=lambda problem: problem.level != "bad")


def _of_fleet(view: FleetView) -> Iterator[Problem]:
    fleet = view.fleet
    if fleet is None:
        return
    if not any(line.queue == "sweep" and line.workers for line in fleet.queues):
        hint = "start one: celery -A forebay.workers.sweeper worker"
        yield Problem("bad", "No sweeper runs: lost jobs are not given back", hint, "workers")
    elif fleet.unswept:
        where = ", ".join(fleet.unswept)
        hint = "start one there: celery -A forebay.workers.sweeper worker"
        yield Problem(
            "bad", f"No sweeper runs in {where}: lost jobs are not given back", hint, "workers"
        )
    if since := emptied_at(fleet.workers):
        words = f"Redis lost its data at {moment(int(since * 1000))}"
        hint = "put its append-only file back, or submit again: forebay doctor"
        yield Problem("bad", words, hint, "workers")
    for name in fleet.unreached:
        words = f"The fleet {name} cannot be reached, and is not counted here"
        yield Problem("bad", words, "forebay doctor says why", "workers")
    if fleet.shut:
        hint = "forebay doctor says how to mend it; meanwhile jobs wait or are answered locally"
        yield Problem("bad", f"Bedrock is shut: {fleet.shut}", hint, "budgets")
    if fleet.budgets is None:
        words = "The policy file of this gateway is wrong, or not that of the workers"
        hint = "see its log (policy.wrong) or set FOREBAY_POLICY_FILE; budgets here may be wrong"
        yield Problem("warn", words, hint, "budgets")
    yield from _of_queues(view)
    yield from _of_workers(view)
    yield from _of_redis(fleet)
    for pause in view.pauses:
        because = f": {pause.reason}" if pause.reason else ""
        scope, _, name = pause.scope.partition(" in ")
        hint = f"forebay resume {scope}" + (f" --fleet {name}" if name else "")
        yield Problem("warn", f"Paused: {pause.scope}{because}", hint, "queues")


def _of_queues(view: FleetView) -> Iterator[Problem]:
    for line in view.queues:
        waiting = sum(line.waiting.values())
        if waiting and not line.workers:
            hint = f"start one: {start_command(line.queue)}"
            words = f"No worker serves {line.queue}, where {counted(waiting, 'job')} wait"
            yield Problem("bad", words.replace("1 job wait", "1 job waits"), hint, "queues")
        elif waiting and line.oldest_s > LATE_S:
            words = f"The oldest job in {line.queue} has waited {span(line.oldest_s)}"
            yield Problem("warn", words, "", "queues")


def _of_workers(view: FleetView) -> Iterator[Problem]:
    for worker in view.workers:
        name, seen = worker.seen.status.name, span(worker.seen.seen_s)
        if worker.seen.state == "gone":
            words = f"The worker {name} is gone: it was last seen {seen} ago"
            yield Problem("warn", words, "its jobs are given back", "workers")
        elif worker.seen.state == "stuck":
            words = f"The worker {name} takes no jobs, though it runs"
            yield Problem("bad", words, "see its log, and restart it", "workers")


def _of_redis(fleet: Snapshot) -> Iterator[Problem]:
    if fleet.memory is not None and fleet.memory >= FULL:
        words = f"Redis uses {percent(fleet.memory)} of its memory: new jobs may be refused"
        yield Problem("bad", words, "", "queues")
    if fleet.recovered:
        leases = counted(fleet.recovered, "lease")
        words = f"{leases} ran out in the last hour: workers died or stalled"
        yield Problem("warn", words, "the jobs were given back", "workers")


def _of_money(view: FleetView) -> Iterator[Problem]:
    for refused in view.refused:
        yield Problem("warn", _sentence(refused.named_text), refused.remedy, "budgets")
    for line in view.budgets:
        if line.budget and _used(line) >= NEARLY_SPENT:
            name = "The fleet" if line.owner == "*" else line.owner
            words = (
                f"{name} has used {percent(_used(line))} of its {dollars(line.budget)} for today"
            )
            yield Problem("warn", words, "", "budgets")


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:] if words.startswith("the ") else words


def _used(line: BudgetLine) -> float:
    return (line.spent + line.reserved) / line.budget if line.budget else 0.0


def _of_dead(view: FleetView) -> Iterator[Problem]:
    total = view.dead.total
    if total:
        verb = "has" if total == 1 else "have"
        yield Problem("warn", f"{counted(total, 'job')} {verb} failed", "see why below", "dead")
