"""Measure what a span costs: without OpenTelemetry, without a collector, recorded, not sampled.

Each way runs the same empty block in turn, so the first row is what the loop itself costs.

Run `python tests/benchmarks/spans.py --spans 100000 --runs 5`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "src")]

from figures import add_figures  # noqa: E402 - the program beside this one

from forebay.routing.tracing import spans  # noqa: E402 - found by the line above

LIMIT_US = 5.0
BLOCK: nullcontext[None] = nullcontext()


def main() -> None:
    """Print microseconds a span for each way, and the ratio of the idle one to its limit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--spans", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path, help="a file to add the figures to")
    options = parser.parse_args()

    def measured(way: Callable[[], object]) -> float:
        return statistics.median(_cost_us(way, options.spans) for _ in range(options.runs))

    rows = {"no span": measured(_plain), "OpenTelemetry not imported": measured(_spanned)}
    from opentelemetry import trace  # noqa: PLC0415 - what is measured next

    rows["no collector"] = idle = measured(_spanned)
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - as above
    from opentelemetry.sdk.trace.export import (  # noqa: PLC0415 - as above
        BatchSpanProcessor,
        SpanExporter,
        SpanExportResult,
    )

    class Discard(SpanExporter):
        def export(self, spans: object) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Discard()))
    trace.set_tracer_provider(provider)
    spans.look_again()
    rows["recorded"] = measured(_spanned)
    spans.skip()
    rows["in a job that is not sampled"] = measured(_spanned)
    for name, cost in rows.items():
        print(f"{name:29} {cost:8.2f} us")
    print(f"{'no collector / limit':29} {idle / LIMIT_US:8.2f}")
    add_figures(options.json, "spans", rows)


def _plain() -> None:
    with BLOCK:
        pass


def _spanned() -> None:
    with spans.span("forebay.local", kind="consumer", forebay__job="acme.0", forebay__attempts=1):
        pass


def _cost_us(way: Callable[[], object], count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        way()
    return (time.perf_counter() - began) / count * 1e6


if __name__ == "__main__":
    main()
