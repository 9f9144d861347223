"""Adds up what the page shows of several fleets."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from forebay.producers.gateway.status.views.dead_letters import MAX_LISTED, DeadLetters
from forebay.producers.gateway.status.views.fleet_view import (
    BudgetLine,
    FleetView,
    LastHour,
    WorkerLine,
)
from forebay.producers.gateway.status.views.sources import FLEET, MAX_SHOWN, FleetSource, newest
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.overview.adding_up import added_snapshots, named, of_each
from forebay.routing.policy.policy_file import PolicyFile


class AllFleets:
    """Reads all fleets, and adds them up. It follows fleets that are added or have moved.

    Args:
        ledgers: returns the ledger of each fleet, the same one as long as its address stays.
        policy: the policy file, for the budgets.
    """

    def __init__(self, ledgers: Callable[[], Mapping[str, Ledger]], policy: PolicyFile) -> None:
        self._ledgers, self._policy = ledgers, policy
        self._sources: dict[Ledger, FleetSource] = {}

    def take(self) -> FleetView:
        """Return the fleets together, without those that cannot be reached.

        Raises:
            Misconfigured: This user of Redis may not look at all tenants.
            Unavailable: No fleet can be reached.
        """
        asks = {name: self._source(ledger).take for name, ledger in self._ledgers().items()}
        views, unreached = of_each(asks)
        view = added_views(views)
        fleet = view.fleet and replace(view.fleet, unreached=unreached)
        return replace(view, fleet=fleet)

    def _source(self, ledger: Ledger) -> FleetSource:
        if ledger not in self._sources:
            self._sources[ledger] = FleetSource(ledger, self._policy)
        return self._sources[ledger]


def added_views(views: Mapping[str, FleetView]) -> FleetView:
    """Return several fleets as one."""
    if len(views) == 1:
        return next(iter(views.values()))
    each = list(views.values())
    return FleetView(
        at_ms=max(view.at_ms for view in each), tenant=None,
        fleet=added_snapshots({name: view.fleet for name, view in views.items() if view.fleet}),
        workers=tuple(
            WorkerLine(named(name, line.seen), line.paused)
            for name, view in views.items() for line in view.workers
        ),
        hour=LastHour(sum((view.hour.counts for view in each), Counter[str]())),
        has_history=any(view.has_history for view in each), budgets=_budgets(each),
        refused=tuple(
            replace(refused, scope=f"fleet {name}") if refused.scope == "fleet" else refused
            for name, view in views.items() for refused in view.refused
        ),
        dead=_dead(each), bulks=newest(bulk for view in each for bulk in view.bulks),
        pauses=tuple(
            replace(pause, scope=f"{pause.scope} in {name}")
            for name, view in views.items() for pause in view.pauses
        ),
    )  # fmt: skip


def _budgets(views: list[FleetView]) -> tuple[BudgetLine, ...]:
    """Return the budgets: those of the fleets add up, a tenant has one wherever it is."""
    lines: dict[str, BudgetLine] = {}
    for line in (line for view in views for line in view.budgets):
        known = lines.get(line.owner)
        lines[line.owner] = line if known is None else _added(known, line)
    fleet = lines.pop(FLEET)
    tenants = sorted(lines.values(), key=lambda line: -(line.spent + line.reserved))
    return (fleet, *tenants[:MAX_SHOWN])


def _added(one: BudgetLine, other: BudgetLine) -> BudgetLine:
    budget = one.budget
    if one.owner == FLEET:
        limits = (one.budget, other.budget)
        budget = None if None in limits else sum(filter(None, limits))
    return BudgetLine(one.owner, one.spent + other.spent, one.reserved + other.reserved, budget)


def _dead(views: list[FleetView]) -> DeadLetters:
    jobs = (job for view in views for job in view.dead.newest)
    return DeadLetters(
        tuple(heapq.nlargest(MAX_LISTED, jobs, key=lambda job: job.ended)),
        sum(view.dead.total for view in views),
        sum((view.dead.counts for view in views), Counter[tuple[str, str, str]]()),
    )
