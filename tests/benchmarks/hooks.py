"""Measure what each hook costs a job of two hops, in CPU time of one process.

Steadier than the rates of `telemetry.py`, which shows what becomes of it in a whole fleet. Prints
microseconds a job, and the ratio of the CPU time that all workers take for a job with the hook to
that without any, as measured in the same run. Traces are measured over jobs of which the default
share is sampled, and over jobs that all are.

`python tests/benchmarks/hooks.py --jobs 20000`, or `--short` for less than a minute; `--json FILE`
adds the figures to a file.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "deploy")]

from figures import add_figures  # noqa: E402 - the program beside this one
from opentelemetry import trace  # noqa: E402
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans  # noqa: E402
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import (  # noqa: E402
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from prometheus_client import CollectorRegistry  # noqa: E402
from telemetry import drain  # noqa: E402 - the program beside this one, found by the line above

from forebay.routing.books.job_book import JobBook  # noqa: E402
from forebay.routing.broker.app import celery_app  # noqa: E402
from forebay.routing.jobs import Answer, Generation, Verdict, new_id  # noqa: E402
from forebay.routing.ledger.claim import Claim  # noqa: E402
from forebay.routing.ledger.record import Record  # noqa: E402
from forebay.routing.log_lines.line_handler import to_stderr  # noqa: E402
from forebay.routing.settings import Settings  # noqa: E402
from forebay.routing.store.connection import connect  # noqa: E402
from forebay.routing.tracing import spans  # noqa: E402
from forebay.routing.tracing.sampling import ARGUMENT, DEFAULT_RATIO, sampling  # noqa: E402
from forebay.workers.runtime.outcomes import Answered, Recorded, Routed  # noqa: E402
from forebay.workers.telemetry.celery_events import CeleryEvents  # noqa: E402
from forebay.workers.telemetry.job_log import JobLog  # noqa: E402
from forebay.workers.telemetry.job_tally import JobTally  # noqa: E402
from forebay.workers.telemetry.job_traces import JobTraces  # noqa: E402
from forebay.workers.telemetry.metrics.job_metrics import JobMetrics  # noqa: E402
from forebay.workers.telemetry.outbox import MAX_PER_MESSAGE, Sender  # noqa: E402
from local.fleet import Fleet  # noqa: E402


def main() -> None:
    """Print a row for each hook, and one for all of them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--drained", type=int, default=3_000, help="jobs of the drain beside it")
    parser.add_argument("--short", action="store_true", help="5,000 jobs, 3 runs, 1,000 drained")
    parser.add_argument("--json", type=Path, help="a file to add the figures to")
    options = parser.parse_args()
    if options.short:
        options.jobs, options.runs, options.drained = 5_000, 3, 1_000
    os.environ["FOREBAY_LOG"] = "text"
    sys.stderr = Path(os.devnull).open("w", buffering=1)  # noqa: SIM115 - as long as the process
    to_stderr(logging.INFO, worker="local1@here")
    with tempfile.TemporaryDirectory() as folder, Fleet(Path(folder)) as fleet:
        fleet.start_redis()
        _, worker_ms = drain(fleet, options.drained, {}, seen=False)
        ways = {
            "log": _both_hops(JobLog()),
            "events": _sent(fleet.url),
            "counts (report)": _counted(fleet.url),
            "metrics": _both_hops(JobMetrics(CollectorRegistry(), 50)),
        }
        costs = {name: _cost_us(way, options.jobs, options.runs) for name, way in ways.items()}
        _record_spans()
        for name, ratio in (("traces", DEFAULT_RATIO), ("traces of every job", 1.0)):
            costs[name] = _cost_us(_traced(ratio), options.jobs, options.runs)
    costs["log, metrics, traces"] = sum(costs[name] for name in ("log", "metrics", "traces"))
    shares = {name: cost / worker_ms / 1_000 for name, cost in costs.items()}
    print(f"CPU time of each hook a job of two hops, medians of {options.runs} runs")
    for name, cost in costs.items():
        print(
            f"{name:20} {cost:6.1f} us  ratio to none {1 + shares[name]:.3f} ({worker_ms:.2f} ms)"
        )
    rows = {name: {"us": cost, "share": shares[name]} for name, cost in costs.items()}
    add_figures(options.json, "hooks", rows)


def _record_spans() -> None:
    """Record all spans of this process, and encode them in batches as for a collector."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(Encoding()))
    trace.set_tracer_provider(provider)
    spans.look_again()


class Encoding(SpanExporter):
    """Encodes spans for OTLP, `BATCH` at a time, and drops them."""

    BATCH = 512  # what OpenTelemetry sends at most at a time, unless told otherwise

    def __init__(self) -> None:
        self._waiting: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take spans that have ended."""
        self._waiting += spans
        if len(self._waiting) >= self.BATCH:
            encode_spans(self._waiting).SerializeToString()
            self._waiting.clear()
        return SpanExportResult.SUCCESS


def _cost_us(way: Callable[[], object], jobs: int, runs: int) -> float:
    """Return the median of some runs, in microseconds of CPU time a job."""
    costs = []
    for _ in range(runs):
        began = time.process_time()
        for _ in range(jobs):
            way()
        costs.append((time.process_time() - began) / jobs * 1e6)
    return statistics.median(costs)


def _both_hops(
    hook: JobLog | CeleryEvents | JobMetrics | JobTally | JobTraces, job_id: str = ""
) -> Callable[[], None]:
    """Return what has a hook observe a job that is routed, and then answered."""
    job_id = job_id or new_id("acme")
    routing, routed = _hop(job_id, "route", _routed)
    answering, answered = _hop(job_id, "local", _answered)

    def observe() -> None:
        hook.started(routing)
        hook.finished(routing, routed)
        hook.started(answering)
        hook.finished(answering, answered)

    return observe


def _traced(ratio: float) -> Callable[[], None]:
    """Return what has spans made and encoded for a share of the jobs."""
    os.environ[ARGUMENT] = str(ratio)
    sampling.cache_clear()
    hook, every = JobTraces(), round(1 / ratio)
    ways = [_both_hops(hook, _job_id(sampled=not place)) for place in range(every)]
    turns = itertools.cycle(ways)

    def observe_the_next() -> None:
        next(turns)()

    return observe_the_next


def _job_id(*, sampled: bool) -> str:
    """Return the id of a job that is sampled, or is not."""
    ids = (new_id("acme") for _ in itertools.count())
    return next(i for i in ids if sampling().wants(i, None) == sampled)


def _sent(url: str) -> Callable[[], None]:
    """Return what has the events of a job made, and sent with those of others."""
    events = CeleryEvents()
    observe = _both_hops(events)
    sender, outbox = Sender(celery_app(Settings(redis_url=url)), "local1@here"), events._outbox

    def observe_and_send() -> None:
        observe()
        if len(outbox._unsent) >= MAX_PER_MESSAGE:
            sender.send([fields for _, fields in outbox._unsent])
            outbox._unsent.clear()

    return observe_and_send


def _counted(url: str) -> Callable[[], None]:
    """Return what has a job counted for `forebay report`, and the counts of 100 jobs written."""
    tally = JobTally(lambda: JobBook(connect(Settings(redis_url=url))))
    observe, jobs = _both_hops(tally), itertools.count(1)

    def observe_and_write() -> None:
        observe()
        if next(jobs) % 100 == 0:
            tally.flush()

    return observe_and_write


def _hop(job_id: str, hop: str, outcome: Callable[[Claim], Recorded]) -> tuple[Claim, Recorded]:
    queue = "local.default" if hop == "local" else hop
    fields = {
        "kind": "generate", "state": "running", "hop": hop, "queue": queue, "egress": "deny",
        "attempts": "1", "created": str(int(time.time() * 1000)), "reasons": "verdict_easy",
    }  # fmt: skip
    record = Record.from_hash(job_id, fields)
    claim = Claim(record.id, "1-token", record, b"", b"")
    return claim, outcome(claim)


def _routed(claim: Claim) -> Recorded:
    verdict = Verdict(probability=0.7, version="bench")
    return Recorded(claim.id, Routed("local.default", "deny", "verdict_easy", verdict), "waiting")


def _answered(claim: Claim) -> Recorded:
    made = {"status": "done", "lane": "local", "model": "echo", "tokens_in": 30, "tokens_out": 9}
    answer = Answer(**claim.record.heading(), **made, content=Generation(text="ok"))
    return Recorded(claim.id, Answered(answer), "done", answer.receipt)


if __name__ == "__main__":
    main()
