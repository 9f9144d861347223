"""The command `forebay top`: queues, workers, money and failures of the fleet, live."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from forebay.producers.cli import display
from forebay.producers.cli.operator import workers
from forebay.producers.cli.operator.readers import open_readers
from forebay.routing.base import NANO
from forebay.routing.overview.adding_up import added_snapshots, of_each
from forebay.routing.overview.all_jobs import ranked
from forebay.routing.overview.percentage import percentage
from forebay.routing.overview.snapshot import QueueLine, Snapshot, Snapshots
from forebay.routing.overview.waiting import CLASSES
from forebay.routing.overview.workers import SeenWorker, emptied_at

PIPED = 120  # columns in a pipe or a file, unless COLUMNS says how many
WITH_LANE = 100  # columns from which on dead jobs have a column for it; their ids come first
WITH_CHANGE = 72  # columns from which the growth of queues has room beside their names
WIDE = 140  # columns from which on the tables stand side by side
MAX_TENANTS = 6
CENT = NANO // 100
LEAST = NANO // 10_000  # what four places can say
LATE_S = 600.0
OTHER_POLICY = "This shell has another policy than the workers, or a wrong one: forebay doctor"
STATES = {"gone": "red", "stuck": "red", "drained": "yellow"}  # the colours of workers


def run(interval: float, rounds: int | None, *, as_json: bool) -> None:
    """Show the fleet live on a terminal; anywhere else print it once."""
    fleets = {name: Snapshots(reader) for name, reader in open_readers().items()}

    def take() -> Snapshot:
        found, unreached = of_each({name: each.take for name, each in fleets.items()})
        return replace(added_snapshots(found), unreached=unreached)

    if as_json:
        display.document(document(take()))
        return
    told = sys.stdout.isatty() or os.environ.get("COLUMNS")
    console = Console(width=None if told else PIPED)
    now = take()
    if not console.is_terminal:
        console.print(screen(now, None, console.width))
        return
    with Live(screen(now, None, console.width), console=console, screen=rounds is None) as live:
        while rounds is None or (rounds := rounds - 1) > 0:
            time.sleep(interval)
            before, now = now, take()
            live.update(screen(now, before, console.width))


def screen(now: Snapshot, before: Snapshot | None, width: int) -> RenderableType:
    """Return the screen: one column of tables, or two if there is room."""
    room = width if width < WIDE else width // 2
    queues = _queues(now, before, with_change=room >= WITH_CHANGE)
    left: list[RenderableType] = [queues, *_delayed(now), _workers(now)]
    right: list[RenderableType] = [_money(now), _failures(now, with_lane=room >= WITH_LANE)]
    if width < WIDE:
        return Group(_head(now), *left, *right)
    grid = Table.grid(expand=True, padding=(0, 2))
    grid.add_column(ratio=1)
    grid.add_column(ratio=1)
    grid.add_row(Group(*left), Group(*right))
    return Group(_head(now), grid)


def document(now: Snapshot) -> dict[str, Any]:
    """Return a snapshot as JSON."""
    known = now.budgets
    budgets = None if known is None else {name: limit / NANO for name, limit in known.items()}
    return {
        "at": datetime.fromtimestamp(now.at_ms / 1000, UTC).isoformat(),
        "queues": [
            {
                "queue": line.queue, "waiting": line.waiting, "oldest_s": line.oldest_s,
                "running": line.running, "workers": line.workers,
            }
            for line in now.queues
        ],
        "delayed": now.delayed, "leases_recovered_hour": now.recovered, "memory": now.memory,
        "spent_usd": {name: sums[0] / NANO for name, sums in now.spent.items()},
        "reserved_usd": {name: sums[1] / NANO for name, sums in now.spent.items()},
        "workers": [workers.document(worker) for worker in now.workers],
        "budgets_usd": budgets, "budget_usd": (budgets or {}).get("*"),
        "bedrock_shut": now.shut, "bedrock_mocked": now.mocked, "paused": now.paused,
        "fleets_unreached": now.unreached,
        "dead": [
            {"tenant": tenant, "kind": kind, "code": code, "jobs": count}
            for (tenant, kind, code), count in ranked(now.dead)
        ],
    }  # fmt: skip


def _head(now: Snapshot) -> Text:
    """Return the line that says how the fleet is as a whole, and one of what is paused."""
    clock = datetime.fromtimestamp(now.at_ms / 1000, UTC).strftime("%H:%M:%SZ")
    memory = "no limit" if now.memory is None else percentage(now.memory)
    sweepers = sum(len(line.workers) for line in now.queues if line.queue == "sweep")
    parts = [
        ("forebay", "bold"), (clock, ""), (f"memory {memory}", ""),
        (f"sweepers {sweepers}", "" if sweepers and not now.unswept else "bold red"),
        (f"leases recovered {now.recovered}/h", "yellow" if now.recovered else ""),
    ]  # fmt: skip
    head = Text("  ").join(Text(words, style) for words, style in parts)
    if since := emptied_at(now.workers):
        lost = f"Redis lost its data at {display.moment(since)}: forebay doctor"
        head = head.append(f"\n{lost}", "bold red")
    if now.unreached:
        missing = f"cannot be reached, and not counted: {', '.join(now.unreached)}"
        head = head.append(f"\n{missing}", "bold red")
    return head.append(f"\npaused: {', '.join(now.paused)}", "bold yellow") if now.paused else head


def _queues(now: Snapshot, before: Snapshot | None, *, with_change: bool) -> Table:
    """Return the table of queues; a queue with jobs and no worker is red."""
    change = ["CHANGE/s"] if with_change else []
    table = _table(
        "QUEUE", "INTERACTIVE", "BULK", "SHARDS", *change, "OLDEST", "RUNNING", "WORKERS"
    )
    earlier = {line.queue: line for line in before.queues} if before else {}
    for line in now.queues:
        if line.queue == "sweep":
            continue
        waiting = sum(line.waiting.values())
        unserved, late = waiting and not line.workers, line.oldest_s > LATE_S
        table.add_row(
            _name(line.queue), *(f"{line.waiting[name]:,}" for name in CLASSES),
            *([_change(line, earlier.get(line.queue), now, before)] if with_change else []),
            display.duration(line.oldest_s) if line.oldest_s else "",
            f"{line.running:,}", f"{len(line.workers)}",
            style="red" if unserved else "yellow" if late else "",
        )  # fmt: skip
    return table


def _delayed(now: Snapshot) -> list[Text]:
    """Return the line about the jobs that wait for a retry, if there are any."""
    if not now.delayed:
        return []
    many, verb = ("jobs", "wait") if now.delayed > 1 else ("job", "waits")
    return [Text(f"{now.delayed:,} more {many} {verb} for a retry", "yellow")]


def _change(
    line: QueueLine, earlier: QueueLine | None, now: Snapshot, before: Snapshot | None
) -> str:
    """Return by how many jobs a second a queue grew since the last look."""
    if earlier is None or before is None or now.at_ms <= before.at_ms:
        return ""
    grown = sum(line.waiting.values()) - sum(earlier.waiting.values())
    return f"{1000 * grown / (now.at_ms - before.at_ms):+.1f}" if grown else "0"


def _workers(now: Snapshot) -> Table:
    """Return the table of workers: what each serves, how busy and how fast it is."""
    table = _table("WORKER", "SERVES", "STATE", "BUSY", "JOBS/MIN", "S/JOB")
    table.columns[1].no_wrap = False  # a worker may serve many queues
    told = {worker.status.name: worker for worker in now.workers}
    served: dict[str, list[str]] = {name: list(told[name].status.queues) for name in told}
    for line in now.queues:
        for name in line.workers:
            if name not in told:
                served.setdefault(name, []).append(line.queue)
    for name, queues in sorted(served.items()):
        table.add_row(_name(name), _name(", ".join(queues)), *_pace(told.get(name)))
    return table


def _pace(worker: SeenWorker | None) -> tuple[RenderableType, ...]:
    """Return the state of a worker, its jobs and their time; nothing if it has not said."""
    if worker is None:
        return ("", "", "", "")
    return (Text(worker.state, STATES.get(worker.state, "")), *workers.pace(worker))


def _money(now: Snapshot) -> Table:
    """Return the table of today's money, the fleet first, and whether Bedrock takes calls."""
    whose = "MOCK OF BEDROCK TODAY, NO MONEY" if now.mocked else "BEDROCK TODAY"
    table = _table(whose, "SPENT", "RESERVED", "BUDGET")
    settled, reserved = now.spent.get("*", (0, 0))
    state = Text("fleet, ")
    if now.shut:
        state.append(f"shut: {now.shut}", "red")
    else:
        state.append("taking calls", "green")
    table.add_row(state, _dollars(settled), _dollars(reserved), _budget(now, "*"))
    tenants = [(name, sums) for name, sums in now.spent.items() if name != "*" and ":" not in name]
    for name, sums in sorted(tenants, key=lambda item: (-sum(item[1]), item[0]))[:MAX_TENANTS]:
        table.add_row(_name(f"  {name}"), _dollars(sums[0]), _dollars(sums[1]), _budget(now, name))
    if now.budgets is None:
        table.caption = Text(OTHER_POLICY, "yellow")
        table.caption_justify = "left"
    return table


def _budget(now: Snapshot, name: str) -> str:
    """Return the budget of a tenant, or of the fleet."""
    if now.budgets is None:
        return "unknown"
    limit = now.budgets.get(name)
    if limit is None:
        return "no limit"
    return _dollars(limit) if limit < CENT else f"${limit / NANO:,.2f}"


def _failures(now: Snapshot, *, with_lane: bool) -> Table:
    """Return the table of the newest dead jobs."""
    columns = ("AGE", "KIND", "CODE", *(["LANE"] if with_lane else [])) if now.failures else ()
    table = _table(f"DEAD ({now.dead.total():,})", *columns)
    for record in now.failures:
        age = display.duration((now.at_ms - record.ended) / 1000)
        cells = _name(record.id), age, record.kind, record.error or "", record.hop
        table.add_row(*cells[: 1 + len(columns)])
    return table


def _table(*columns: str) -> Table:
    """Return an empty table whose numbers are aligned to the right, and never cut off."""
    table = Table(box=None, pad_edge=False, expand=True, header_style="bold cyan", title=" ")
    numbers = {"INTERACTIVE", "BULK", "SHARDS", "CHANGE/s", "OLDEST", "RUNNING", "WORKERS", "SPENT",
               "RESERVED", "BUDGET", "AGE", "BUSY", "JOBS/MIN", "S/JOB"}  # fmt: skip
    for name in columns:
        table.add_column(name, justify="right" if name in numbers else "left", no_wrap=True)
    table.columns[0].no_wrap = False  # so this column is the one that gives way: see `_name`
    return table


def _name(name: str) -> Text:
    """Return the name in the first column of a table, cut off at the end if there is no room."""
    return Text(name, no_wrap=True, overflow="ellipsis")


def _dollars(nusd: int) -> str:
    return "< $0.0001" if 0 < nusd < LEAST else f"${nusd / NANO:,.4f}"
