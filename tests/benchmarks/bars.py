"""What is measured of speed, in short: each benchmark, its short form, and its bars.

`scorecard.py` runs them. A benchmark's figures are what it writes with `--json`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median, quantiles
from typing import Any, NamedTuple


class Bar(NamedTuple):
    """What a figure is held to.

    Attributes:
        what: what the figure is.
        find: finds it among the benchmark's figures; raises `KeyError` if it was left out.
        sign: `≤` or `≥`; what is no better than nothing has none.
        limit: the bar.
        unit: of the figure and of the bar.
    """

    what: str
    find: Callable[[Any], float]
    sign: str = ""
    limit: float = 0.0
    unit: str = "x"

    def __str__(self) -> str:
        return f"{self.sign} {shown(self.limit, self.unit)}" if self.sign else "none"

    def met(self, figure: float) -> bool:
        """Return whether a figure reaches the bar; a figure without a bar does."""
        return not self.sign or (figure <= self.limit if self.sign == "≤" else figure >= self.limit)


class Benchmark(NamedTuple):
    """A benchmark's file without its suffix, the options of its short form, and its bars."""

    name: str
    short: str
    bars: tuple[Bar, ...]


def shown(value: float, unit: str) -> str:
    """Return a figure with its unit, with three digits that say something."""
    digits = sum(abs(value) < edge for edge in (100, 10, 1))
    number = f"{value:,.{digits}f}"
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"


def _beside(hops: str, queue: str, column: str) -> Callable[[Any], float]:
    return lambda rows: rows[f"Forebay, {hops}"][column] / rows[queue][column]


def _slowest(what: str, share: int) -> Callable[[Any], float]:
    return lambda ways: max(way[what][share - 1] for way in ways.values())


def _loaded(kind: str) -> Callable[[Any], float]:
    def worst(took: Any) -> float:
        loads = (median(each[kind]) for load, each in took.items() if load != "alone")
        return max(0.0, max(loads) - STEP_S) / median(took["alone"][kind])

    return worst


def _gateway(row: str, connections: str, column: str = "rate") -> Callable[[Any], float]:
    return lambda at: at[connections][row][column] / at[connections]["LiteLLM"][column]


def _p95(waits: list[list[float]]) -> float:
    return quantiles((took for took, _ in waits), n=20)[-1]


CELERY = "bare Celery"
STEP_S = 0.02  # of the batch beside which `interactive.py` measures: a job may have to wait for it
QUEUES = ("rq", "huey", "arq")
#: What is left out where `make peers` did not run.
PEERS = {*QUEUES, "LiteLLM"}
BENCHMARKS = (
    Benchmark(
        "overhead",
        f"--jobs 2000 --runs 2 --peers {' '.join(QUEUES)}",
        (
            Bar("one hop, beside Celery's drain", _beside("one hop", CELERY, "drain"), "≥", 1),
            Bar("two hops, beside Celery's drain", _beside("two hops", CELERY, "drain"), "≥", 0.8),
            Bar("one hop, beside Celery's CPU", _beside("one hop", CELERY, "cpu_ms"), "≤", 1.5),
            Bar("two hops, beside Celery's CPU", _beside("two hops", CELERY, "cpu_ms"), "≤", 1.5),
            *(
                Bar(f"one hop, beside {each}'s drain", _beside("one hop", each, "drain"), "≥", 1)
                for each in QUEUES
            ),
        ),
    ),
    Benchmark(
        "latency",
        "--jobs 150",
        tuple(
            Bar(f"{what}, p{share}", _slowest(key, share), "≤", limit, "ms")
            for what, key, share, limit in (
                ("a job's time from submit to start", "waited", 50, 5),
                ("a job's time from submit to start", "waited", 99, 25),
                ("a job's time from submit to answer", "answered", 50, 10),
            )
        ),
    ),
    Benchmark(
        "clients",
        "--jobs 20000 --runs 3",
        (
            Bar("submits of a map", lambda of: of["submits"]["many at once"]["forebay"],
                "≥", 20_000, "jobs/s"),
            Bar("submits one at a time", lambda of: of["submits"]["one at a time"]["forebay"],
                "≥", 1_500, "jobs/s"),
        ),
    ),
    Benchmark(
        "interactive",
        "--jobs 20 --loads 'bulk jobs' 'rows of a bulk'",
        tuple(
            Bar(f"{kind}, p50 beside a saturating bulk less a step, of that alone",
                _loaded(key), "≤", 1.5)
            for kind, key in (("a classify job", "classify"), ("a generation", "32 tokens"))
        ),
    ),
    Benchmark(
        "depth",
        "--most 10000 --tenants 1 --backlog 20000 --rounds 6",
        (
            Bar("a queued job in Redis", lambda of: of["depths"][-1]["bytes"],
                "≤", 1_500, "bytes"),
            Bar("another tenant's p95 beside a long queue",
                lambda of: _p95(of["waits"]["busy"]) / _p95(of["waits"]["alone"]), "≤", 1.1),
        ),
    ),
    Benchmark(
        "gpu",
        "--engine echo --echo-delay 0.02 --concurrency 32 --prompts own --rounds 4 --ahead 2",
        (
            Bar("tokens beside the bare engine's, a full batch of 32",
                lambda of: of["echo"][0]["ratio"], "≥", 0.98),
        ),
    ),
    Benchmark(
        "router",
        "",
        (
            Bar("the CPU of a verdict, p50", lambda of: of["processor"][49], "≤", 0.3, "ms"),
            Bar("the CPU of a verdict, p95", lambda of: of["processor"][94], "≤", 1, "ms"),
        ),
    ),
    Benchmark(
        "startup",
        "--runs 5",
        tuple(
            Bar(what, lambda of, key=key: of[key], "≤", limit, "ms")
            for what, key, limit in (
                ("`import forebay`", "import forebay", 50),
                ("`forebay --help`", "forebay --help", 150),
                ("`forebay submit`", "forebay submit", 250),
                ("`forebay status`", "forebay status", 250),
                ("a router is ready", "router", 1_500),
                ("`make up` is ready", "make up", 5_000),
            )
        ),
    ),
    Benchmark(
        "scaling",
        "--workers 1 4 --seconds 12",
        (
            Bar("four workers, of four times one",
                lambda rows: rows[-1]["rate"] / rows[0]["rate"] / rows[-1]["workers"], "≥", 0.95),
            Bar("four workers, a tenant is off its equal share by",
                lambda rows: 100 * rows[-1]["unfair"], "≤", 5, "%"),
        ),
    ),
    Benchmark(
        "memory",
        "--jobs 20000 --ways local",
        (
            Bar("the process that grows most, a job",
                lambda of: max(each["slope"][0] for each in of.values()) / 1_000, "≤", 1, "KiB"),
        ),
    ),
    Benchmark(
        "bulk",
        "--rows 400000 --singles 2000",
        (
            Bar("rows beside a map's jobs", lambda of: of["rows"]["bulk"] / of["rows"]["map"],
                "≥", 10),
            Bar("rows beside Celery's tasks", lambda of: of["rows"]["bulk"] / of["rows"]["celery"],
                "≥", 5),
            Bar("a queued row in Redis", lambda of: of["queued_bytes"], "≤", 60, "bytes"),
            Bar("the most memory of a process", lambda of: max(of["most_mb"].values()),
                "≤", 200, "MB"),
        ),
    ),
    Benchmark(
        "hooks",
        "--short",
        (
            Bar("log lines, metrics and traces, of a job's CPU",
                lambda of: 100 * of["log, metrics, traces"]["share"], "≤", 3, "%"),
            Bar("Celery's events, of a job's CPU",
                lambda of: 100 * of["events"]["share"], "≤", 2, "%"),
        ),
    ),
    Benchmark(
        "spans",
        "--spans 50000 --runs 3",
        (
            Bar("a span without a collector", lambda of: of["no collector"], "≤", 5, "us"),
        ),
    ),
    Benchmark(
        "gateway",
        "--seconds 2 --connections 1 16",
        (
            Bar("a job on the ledger, 16 connections, beside the bare server's requests",
                lambda at: at["16"]["gateway, ledger"]["rate"] / at["16"]["bare ASGI"]["rate"]),
            *(
                Bar(f"{what}, {at} connection{'s' if at > 1 else ''}, requests beside LiteLLM's",
                    _gateway(row, str(at)), "≥", limit)
                for at in (1, 16)
                for what, row, limit in (
                    ("a job on the ledger", "gateway, ledger", 5),
                    ("an answer from the cache", "gateway, cached", 20),
                )
            ),
            Bar("a job on the ledger, 16 connections, p99 beside LiteLLM's",
                _gateway("gateway, ledger", "16", "p99_ms"), "≤", 1),
        ),
    ),
)  # fmt: skip

#: The other programs, and why `make bench` leaves them out.
LEFT_OUT: Mapping[str, str] = {
    **dict.fromkeys(("bare", "bare_asgi", "baregpu", "peers", "unseen"), "runs beside Forebay"),
    **dict.fromkeys(
        ("bars", "curves", "environments", "figures", "gpuload", "labelled", "plots", "questions",
         "scorecard"),
        "measures nothing",
    ),
    **dict.fromkeys(
        ("cascade", "checks", "decisions", "doubt_error", "kept_answers", "pacing", "ranking"),
        "measures quality",
    ),
    **dict.fromkeys(
        ("bulk_io", "first_token", "fleets", "gateway_cpu", "gateway_parts", "part_costs",
         "redis_capacity", "script_costs", "telemetry"),
        "says where time goes; nothing is held to it",
    ),
    "bulk_llama": "half an hour of the packaged model",
    "bulk_peers": "minutes of the packaged model",
    "capacity": "compares a prediction with a fleet, for half an hour",
    "day": "plays a day of jobs",
    "rolling": "minutes of upgrades",
}  # fmt: skip
