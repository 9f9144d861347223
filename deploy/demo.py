"""`make demo`: real jobs of all five kinds through every lane, and what came of them.

Everything is real but the frontier model: Redis (Valkey), the Celery actors, a small language model
and an embedding model on the CPU, Flower, and boto3's calls. Those go over HTTP to a local stand-in
for Bedrock, which knows the reference answers of these samples; its answers are marked.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from fleet import Fleet
from proc import ROOT, PartFailed
from producers.client import Client
from routing.errors import ForebayError
from routing.jobs import Answer, Job, Receipt
from routing.settings import Settings
from routing.wire import NANO

PARTS = ("standin", "router", "local", "bedrock", "sweeper", "flower")
TIMEOUT_S = 300.0
SAMPLES = ROOT / "deploy" / "samples.jsonl"


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of `samples.jsonl`: a job, and its name in the table."""

    name: str
    job: Job


def samples(path: Path = SAMPLES) -> list[Sample]:
    """The demo's jobs."""
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    fields = ("tenant", "egress", "priority", "lane", "request")
    return [
        Sample(line["name"], Job.model_validate({k: line[k] for k in fields if k in line}))
        for line in lines
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; exit code 0 when every job ended as it may."""
    parser = argparse.ArgumentParser(description="Run real jobs through every lane.")
    parser.add_argument("--out", type=Path, help="also write the table as JSON to this file")
    options = parser.parse_args(arguments)
    # A pipe or a CI log has no width of its own; the table must not be squeezed to 80.
    console = Console(width=None if sys.stdout.isatty() else 150)
    began = time.monotonic()
    try:
        rows = _run(samples(), console)
    except (PartFailed, ForebayError, TimeoutError) as error:
        console.print(f"The demo stopped: {error}", style="red", markup=False)
        return 1
    _show(console, rows, time.monotonic() - began)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=2) + "\n")
    leaked = [row for row in rows if row["egress"] == "deny" and row["lane"] == "bedrock"]
    return 1 if leaked else 0


def _run(jobs: list[Sample], console: Console) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="forebay-demo-") as folder, ExitStack() as stack:
        with console.status("Starting Redis, the actors, a language model, Flower and a stand-in"):
            policy = {"FOREBAY_POLICY_FILE": str(ROOT / "deploy" / "demo.toml")}
            fleet = stack.enter_context(Fleet(Path(folder), policy))
            fleet.start_redis()
            for part in PARTS:
                fleet.start(part)
            fleet.wait_ready()
        console.print(f"The fleet runs; while it does, Flower is at {fleet.flower_url}")
        clients = _clients(fleet, jobs, stack)
        begun = {sample.job.id: clients[sample.job.tenant].begin(sample.job) for sample in jobs}
        with _progress(console, len(jobs)) as tick:
            for future in as_completed(begun.values(), timeout=TIMEOUT_S):
                tick(future.result())
        return [_row(sample, begun[sample.job.id]) for sample in jobs]


def _clients(fleet: Fleet, jobs: list[Sample], stack: ExitStack) -> dict[str, Client]:
    settings = Settings(redis_url=fleet.url)
    return {
        tenant: stack.enter_context(Client(tenant=tenant, settings=settings))
        for tenant in {sample.job.tenant for sample in jobs}
    }


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Any]:
    columns = BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    lanes: Counter[str] = Counter()
    with Progress(TextColumn("{task.description}"), *columns, console=console) as bar:
        task = bar.add_task("answered", total=total)

        def tick(outcome: Answer | Receipt) -> None:
            lanes[outcome.lane or outcome.status] += 1
            said = ", ".join(f"{count} {lane}" for lane, count in sorted(lanes.items()))
            bar.update(task, advance=1, description=said)

        yield tick


def _row(sample: Sample, future: Future[Answer | Receipt]) -> dict[str, Any]:
    outcome = future.result()
    return {
        "id": outcome.id,
        "name": sample.name,
        "kind": outcome.kind,
        "egress": outcome.egress,
        "lane": outcome.lane,
        "reason": outcome.reason,
        "reasons": list(outcome.reasons),
        "model": outcome.model,
        "stand_in": outcome.stand_in,
        "degraded": outcome.degraded,
        "tokens_in": outcome.tokens_in,
        "tokens_out": outcome.tokens_out,
        "cost_usd": outcome.cost_usd,
        "seconds": outcome.total_s,
        "status": outcome.status,
    }


def _show(console: Console, rows: list[dict[str, Any]], seconds: float) -> None:
    table = Table(title="Every job, where it was answered and why", title_justify="left")
    for name in ("job", "kind", "egress", "lane", "why", "model"):
        table.add_column(name, overflow="fold")
    for name in ("tokens", "cost $", "s"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*_cells(row), style=_style(row))
    console.print(table)
    for line in _summary(rows):
        console.print(line, markup=False, highlight=False)
    console.print(
        f"\n{len(rows)} jobs in {seconds:.0f} s, start and stop of the fleet included. All of it is"
        " stopped.\nKeep a fleet running: make up (it prints Flower's address); make down ends it.",
        markup=False,
        highlight=False,
    )


def _cells(row: dict[str, Any]) -> list[str]:
    lane = row["lane"] or row["status"]
    model = (row["model"] or "-") + (" (stand-in)" if row["stand_in"] else "")
    return [
        row["name"],
        row["kind"],
        row["egress"],
        f"{lane}, degraded" if row["degraded"] else lane,
        " > ".join(row["reasons"]),
        model,
        f"{row['tokens_in']} + {row['tokens_out']}",
        f"{row['cost_usd']:.6f}" if row["cost_usd"] else "0",
        f"{row['seconds']:.1f}",
    ]


def _style(row: dict[str, Any]) -> str:
    if row["status"] != "done":
        return "red"
    if row["degraded"]:
        return "yellow"
    return "cyan" if row["lane"] == "bedrock" else ""


def _summary(rows: list[dict[str, Any]]) -> list[str]:
    done = [row for row in rows if row["status"] == "done"]
    local = [row for row in done if row["lane"] == "local"]
    bedrock = [row for row in done if row["lane"] == "bedrock"]
    caught = [row for row in rows if any(_is_catch(reason) for reason in row["reasons"])]
    degraded = [row for row in local if row["degraded"]]
    denied = [row for row in rows if row["egress"] == "deny"]
    cost = sum(round(row["cost_usd"] * NANO) for row in rows) / NANO
    out = sum(row["tokens_out"] for row in local)
    split = (
        f"Split: {len(local)} local for nothing ({out} tokens written here), {len(bedrock)} bedrock"
        f" for ${cost:.6f} at list prices (by the stand-in: nothing was paid)."
    )
    checked = (
        f"Caught: the checks refused {len(caught)} local answers; "
        f"{sum(row['lane'] == 'bedrock' for row in caught)} of those went up to bedrock, "
        f"{len(degraded)} may not leave and came back marked as degraded, "
        f"{sum(row['status'] != 'done' for row in rows)} failed rather than answer wrongly."
    )
    egress = (
        f"Egress: {len(denied)} jobs said deny; "
        f"{sum(row['lane'] == 'bedrock' for row in denied)} of them were answered on bedrock."
    )
    return ["", split, checked, egress]


def _is_catch(reason: str) -> bool:
    return reason.startswith(("check_failed", "low_probability", "no_answer"))


if __name__ == "__main__":
    sys.exit(main())
