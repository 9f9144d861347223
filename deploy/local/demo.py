"""`make demo`: run real jobs of all six kinds through every lane and print what became of them.

Everything is real except the frontier model: Redis (Valkey), the Celery workers, a small language
model and an embedding model on the CPU, Flower, and boto3. boto3 calls a local mock of Bedrock over
HTTP, which knows the reference answers of these samples. Answers of the mock are marked.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from forebay.producers.cli.display import content
from forebay.producers.client import Client
from forebay.routing.errors import ForebayError
from forebay.routing.jobs import (
    Answer,
    Decide,
    Decisions,
    Embed,
    Extraction,
    Generate,
    Job,
    Receipt,
)
from forebay.routing.settings import Settings
from local import demo_report
from local.fleet import Fleet
from local.process import ROOT, PartFailed

PARTS = ("mock_bedrock", "router", "local", "bedrock", "sweeper", "flower", "gateway")
TIMEOUT_S = 300.0
LINE_EVERY_S = 3.0  # in a pipe
SAMPLES = ROOT / "deploy" / "local" / "samples.jsonl"


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of `samples.jsonl`: a job, its name in the table, and its right answer."""

    name: str
    job: Job
    reference: Any = None


def samples(path: Path = SAMPLES) -> list[Sample]:
    """Read the demo's jobs."""
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    fields = ("tenant", "egress", "priority", "lane", "request")
    return [
        Sample(
            line["name"],
            Job.model_validate({k: line[k] for k in fields if k in line}),
            line.get("reference"),
        )
        for line in lines
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo. Return exit code 0 if no job with egress `deny` was answered on Bedrock."""
    parser = argparse.ArgumentParser(description="Run real jobs through every lane.")
    parser.add_argument("--out", type=Path, help="also write the table as JSON to this file")
    options = parser.parse_args(arguments)
    console = demo_report.make_console()
    started_at = time.monotonic()
    try:
        rows = _run(samples(), console)
    except TimeoutError:
        slow = f"not all jobs were answered within {TIMEOUT_S:.0f} s: this machine is too busy"
        return _stopped(console, f"{slow} (load {os.getloadavg()[0]:.0f}); try again later")
    except (PartFailed, ForebayError) as error:
        return _stopped(console, str(error))
    demo_report.show(console, rows, time.monotonic() - started_at)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=2) + "\n")
    leaked = [row for row in rows if row["egress"] == "deny" and row["lane"] == "bedrock"]
    return 1 if leaked else 0


def _stopped(console: Console, why: str) -> int:
    console.print(f"The demo stopped: {why}", style="red", markup=False, highlight=False)
    return 1


def _run(jobs: list[Sample], console: Console) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="forebay-demo-") as folder, ExitStack() as stack:
        with _doing(
            console,
            "Starting Redis, workers, a model, Flower, a gateway, a mock of Bedrock",
        ):
            env = {
                "FOREBAY_POLICY_FILE": str(ROOT / "deploy" / "local" / "demo.toml"),
                "FOREBAY_GATEWAY_TENANT": "default",
            }
            fleet = stack.enter_context(Fleet(Path(folder), env))
            fleet.start_redis()
            for part in PARTS:
                fleet.start(part)
            fleet.wait_ready()
        console.print(
            "The fleet is running. Until the demo ends:"
            f"\n  Status   {fleet.gateway_url}/status"
            f"\n  API      {fleet.gateway_url}/docs"
            f"\n  Flower   {fleet.flower_url}",
            highlight=False,
        )
        clients = _clients(fleet, jobs, stack)
        futures = {
            sample.job.id: clients[sample.job.tenant].submit_future(sample.job) for sample in jobs
        }
        with _progress(console, len(jobs)) as tick:
            for future in as_completed(futures.values(), timeout=TIMEOUT_S):
                tick(future.result())
        rows = [_row(sample, futures[sample.job.id]) for sample in jobs]
        with _doing(console, "Asking the local model again what the checks refused"):
            _add_refused(rows, jobs, clients)
        return rows


def _add_refused(
    rows: list[dict[str, Any]], jobs: list[Sample], clients: dict[str, Client]
) -> None:
    """Add to each row the local answer that the checks refused.

    A job that went up does not keep it. So a copy that may not leave is submitted: its local answer
    is refused for the same reasons, but returned, marked as degraded.
    """
    copies: dict[int, Future[Answer | Receipt]] = {}
    for at, (row, sample) in enumerate(zip(rows, jobs, strict=True)):
        if not demo_report.was_caught(row):
            continue
        if row["lane"] != "bedrock":
            row["refused"] = row["answered"]
            continue
        copy = Job(tenant=sample.job.tenant, egress="deny", request=sample.job.request)
        copies[at] = clients[copy.tenant].submit_future(copy)
    for at, future in copies.items():
        rows[at]["refused"] = _answered(future.result(TIMEOUT_S))


def _clients(fleet: Fleet, jobs: list[Sample], stack: ExitStack) -> dict[str, Client]:
    settings = Settings(redis_url=fleet.url)
    return {
        tenant: stack.enter_context(Client(tenant=tenant, settings=settings))
        for tenant in {sample.job.tenant for sample in jobs}
    }


@contextmanager
def _doing(console: Console, what: str) -> Iterator[None]:
    """Say what the demo does now: with a spinner, or in a pipe in a line."""
    if console.is_terminal:
        with console.status(what):
            yield
    else:
        console.print(what)
        yield


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Any]:
    """Yield a function to call with each result: it moves a bar, or in a pipe adds a line."""
    lanes: Counter[str] = Counter()
    if not console.is_terminal:
        yield partial(_add_line, console, total, lanes, [time.monotonic()])
        return
    columns = BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(TextColumn("{task.description}"), *columns, console=console) as bar:
        task = bar.add_task("answered", total=total)

        def tick(result: Answer | Receipt) -> None:
            bar.update(task, advance=1, description=_counted(lanes, result))

        yield tick


def _counted(lanes: Counter[str], result: Answer | Receipt) -> str:
    """Count a result, and return how many each lane has."""
    lanes[result.lane or result.status] += 1
    return ", ".join(f"{count} {lane}" for lane, count in sorted(lanes.items()))


def _add_line(
    console: Console, total: int, lanes: Counter[str], last: list[float], result: Answer | Receipt
) -> None:
    """Count a result; print a line if the last one was a few seconds ago, or at the end."""
    counts = _counted(lanes, result)
    if time.monotonic() - last[0] >= LINE_EVERY_S or lanes.total() == total:
        last[0] = time.monotonic()
        console.print(f"{lanes.total()} of {total} jobs answered: {counts}", highlight=False)


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
        "asked": _asked(sample.job),
        "answered": _answered(result),
        "reference": _right(sample),
        "refused": None,
    }


def _right(sample: Sample) -> Any:
    """Return the right answer; of questions, the most probable option of each."""
    request, stated = sample.job.request, sample.reference
    if not (isinstance(request, Decide) and isinstance(stated, dict)):
        return stated
    best = [max(options, key=itemgetter("probability"))["option"] for options in stated.values()]
    named = zip(request.questions, best, strict=True)
    return "; ".join(f"{question.name} {option}" for question, option in named)


def _asked(job: Job) -> str:
    """Return the text that a job is about."""
    request = job.request
    if isinstance(request, Generate):
        return request.messages[-1].content
    if isinstance(request, Decide):
        return f"{request.state_text} {' '.join(q.instructions for q in request.questions)}"
    return " | ".join(request.texts) if isinstance(request, Embed) else request.text


def _answered(result: Answer | Receipt) -> str:
    """Return an answer for people, or the error of a failure."""
    if not isinstance(result, Answer):
        return f"({result.error or result.status})"
    if isinstance(result.content, Extraction):
        return json.dumps(result.content.data, ensure_ascii=False)
    if isinstance(result.content, Decisions):
        return content(result).replace("\n", "; ")
    return content(result)


if __name__ == "__main__":
    sys.exit(main())
