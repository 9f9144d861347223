"""`make demo`: run real jobs of all five kinds through every lane and print what became of them.

Everything is real except the frontier model: Redis (Valkey), the Celery workers, a small language
model and an embedding model on the CPU, Flower, and boto3. boto3 calls a local mock of Bedrock over
HTTP, which knows the reference answers of these samples. Answers of the mock are marked.
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

from forebay.producers.client import Client
from forebay.routing.base import NANO
from forebay.routing.errors import ForebayError
from forebay.routing.jobs import Answer, Job, Receipt
from forebay.routing.settings import Settings
from local.fleet import Fleet
from local.process import ROOT, PartFailed

PARTS = ("mock_bedrock", "router", "local", "bedrock", "sweeper", "flower")
TIMEOUT_S = 300.0
TABLE_WIDTH = 165  # characters, if the output is no terminal: a pipe, or the log of a CI
#: The least width of the terminal at which each column is shown.
COLUMNS = {
    "job": 0, "kind": 110, "egress": 0, "lane": 0, "why": 0, "model": 150, "tokens": 120,
    "cost $": 95, "s": 0,
}  # fmt: skip
COLUMN_STYLES: dict[str, dict[str, Any]] = {
    "job": {"no_wrap": True},
    "lane": {"no_wrap": True},
    "model": {"no_wrap": True, "max_width": 26},
    "tokens": {"justify": "right"},
    "cost $": {"justify": "right"},
    "s": {"justify": "right"},
}
#: Words added to the lane of a row whose field is true.
MARKS = {"mock": "stand_in", "degraded": "degraded"}
SAMPLES = ROOT / "deploy" / "local" / "samples.jsonl"


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of `samples.jsonl`: a job, and its name in the table."""

    name: str
    job: Job


def samples(path: Path = SAMPLES) -> list[Sample]:
    """Read the demo's jobs."""
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    fields = ("tenant", "egress", "priority", "lane", "request")
    return [
        Sample(line["name"], Job.model_validate({k: line[k] for k in fields if k in line}))
        for line in lines
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo. Return exit code 0 if no job with egress `deny` was answered on Bedrock."""
    parser = argparse.ArgumentParser(description="Run real jobs through every lane.")
    parser.add_argument("--out", type=Path, help="also write the table as JSON to this file")
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else TABLE_WIDTH)
    started_at = time.monotonic()
    try:
        rows = _run(samples(), console)
    except (PartFailed, ForebayError, TimeoutError) as error:
        console.print(f"The demo stopped: {error}", style="red", markup=False)
        return 1
    _show(console, rows, time.monotonic() - started_at)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=2) + "\n")
    leaked = [row for row in rows if row["egress"] == "deny" and row["lane"] == "bedrock"]
    return 1 if leaked else 0


def _run(jobs: list[Sample], console: Console) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="forebay-demo-") as folder, ExitStack() as stack:
        with console.status(
            "Starting Redis, the workers, a language model, Flower and a mock of Bedrock"
        ):
            policy = {"FOREBAY_POLICY_FILE": str(ROOT / "deploy" / "local" / "demo.toml")}
            fleet = stack.enter_context(Fleet(Path(folder), policy))
            fleet.start_redis()
            for part in PARTS:
                fleet.start(part)
            fleet.wait_ready()
        console.print(f"The fleet is running. Until the demo ends, Flower is at {fleet.flower_url}")
        clients = _clients(fleet, jobs, stack)
        futures = {
            sample.job.id: clients[sample.job.tenant].submit_future(sample.job) for sample in jobs
        }
        with _progress(console, len(jobs)) as tick:
            for future in as_completed(futures.values(), timeout=TIMEOUT_S):
                tick(future.result())
        return [_row(sample, futures[sample.job.id]) for sample in jobs]


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

        def tick(result: Answer | Receipt) -> None:
            lanes[result.lane or result.status] += 1
            counts = ", ".join(f"{count} {lane}" for lane, count in sorted(lanes.items()))
            bar.update(task, advance=1, description=counts)

        yield tick


def _row(sample: Sample, future: Future[Answer | Receipt]) -> dict[str, Any]:
    result = future.result()
    return {
        "id": result.id,
        "name": sample.name,
        "kind": result.kind,
        "egress": result.egress,
        "lane": result.lane,
        "reason": result.reason,
        "reasons": list(result.reasons),
        "model": result.model,
        "stand_in": result.stand_in,
        "degraded": result.degraded,
        "tokens_in": result.tokens_in,
        "tokens_out": result.tokens_out,
        "cost_usd": result.cost_usd,
        "seconds": result.total_s,
        "status": result.status,
    }


def _show(console: Console, rows: list[dict[str, Any]], seconds: float) -> None:
    table = Table(title="Every job, where it was answered, and why", title_justify="left")
    shown = [name for name, min_width in COLUMNS.items() if console.width >= min_width]
    for name in shown:
        table.add_column(name, **COLUMN_STYLES.get(name, {"overflow": "fold"}))
    for row in rows:
        cells = _cells(row)
        table.add_row(*(cells[name] for name in shown), style=_style(row))
    console.print(table)
    for line in _summary(rows):
        console.print(line, markup=False, highlight=False)
    console.print(
        f"\n{len(rows)} jobs in {seconds:.0f} s, including the start and stop of the fleet."
        "\nTo keep a fleet running: make up (prints Flower's address); make down stops it.",
        markup=False,
        highlight=False,
    )


def _cells(row: dict[str, Any]) -> dict[str, str]:
    """Return the text of each of `COLUMNS` in one row."""
    marks = [word for word, field in MARKS.items() if row[field]]
    return {
        "job": row["name"],
        "kind": row["kind"],
        "egress": row["egress"],
        "lane": ", ".join([row["lane"] or row["status"], *marks]),
        "why": " > ".join(row["reasons"]),
        "model": row["model"] or "-",
        "tokens": f"{row['tokens_in']} + {row['tokens_out']}",
        "cost $": f"{row['cost_usd']:.6f}" if row["cost_usd"] else "0",
        "s": f"{row['seconds']:.1f}",
    }


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
        f"Split: {len(local)} local, for free ({out} tokens written here), {len(bedrock)} bedrock"
        f" for ${cost:.6f} at list prices (answered by the mock: nothing was paid)."
    )
    checked = (
        f"Caught: the checks refused {len(caught)} local answers; "
        f"{sum(row['lane'] == 'bedrock' for row in caught)} of those went up to bedrock, "
        f"{len(degraded)} may not leave and were returned as degraded, "
        f"{sum(row['status'] != 'done' for row in rows)} failed instead of giving a wrong answer."
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
