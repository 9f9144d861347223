"""Make the Grafana dashboard of a fleet: `python deploy/grafana/dashboard.py` writes forebay.json.

Import forebay.json into Grafana, or provision it; it asks for the Prometheus data source. Its rows
follow an operator's questions: is it well, what waits, what runs, what goes up, what it costs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "forebay.json"
SOURCE = {"type": "prometheus", "uid": "${source}"}
COLUMNS = 24  # of Grafana's grid
RATE = "$__rate_interval"
CACHED = 'forebay_tokens_total{direction="cached"}'
READ = 'forebay_tokens_total{direction="in"}'
AGREED = 'forebay_second_opinions_total{agreed="true"}'


@dataclass(frozen=True)
class Panel:
    """One panel of the dashboard.

    Attributes:
        queries: a PromQL expression by its legend, in Grafana's notation.
        sort: `stat` for one number, `timeseries` for lines.
        limits: the values from which on a number is yellow and red; empty for neither.
    """

    title: str
    unit: str
    queries: dict[str, str]
    sort: str = "timeseries"
    help: str = ""
    limits: tuple[float, ...] = ()
    stacked: bool = False


def most(metric: str, *labels: str) -> str:
    """Return a figure of the sweepers once: each of them serves it."""
    return f"max by ({', '.join(labels)}) ({metric})" if labels else f"max({metric})"


def rate(metric: str, *labels: str) -> str:
    """Return the rate of a counter a second, over all workers."""
    by = f" by ({', '.join(labels)})" if labels else ""
    return f"sum{by} (rate({metric}[{RATE}]))"


def quantile(share: float, metric: str, *labels: str) -> str:
    """Return a quantile of a histogram."""
    by = ", ".join(("le", *labels))
    return f"histogram_quantile({share}, sum by ({by}) (rate({metric}_bucket[{RATE}])))"


WELL = (
    Panel("Sweepers", "short", {"": most('forebay_queue_workers{queue="sweep"}')}, "stat",
          "None, and jobs of dead workers are not given back."),
    Panel("Ledger read", "bool_yes_no", {"": most("forebay_ledger_read")}, "stat"),
    Panel("Redis durable", "bool_yes_no", {"": "min(forebay_redis_durable)"}, "stat"),
    Panel("Redis memory", "percentunit",
          {"": f"{most('forebay_redis_memory_bytes')} / "
               f"({most('forebay_redis_memory_limit_bytes')} > 0)"},
          "stat", "New jobs are refused from FOREBAY_MEMORY_LIMIT (85 %) on.", (0.75, 0.85)),
    Panel("Submits refused", "bool_yes_no", {"": most("forebay_submits_refused")}, "stat",
          "Redis is short of memory.", (1, 1)),
    Panel("Dead jobs", "short", {"": f"sum({most('forebay_dead_jobs', 'tenant')})"}, "stat",
          "Not replayed yet: forebay dead list.", (1, 100)),
    Panel("Leases recovered in 1 h", "short", {"": most("forebay_leases_recovered_hour")}, "stat",
          "Workers died or stalled.", (1, 50)),
    Panel("Paused", "short", {"": f"sum({most('forebay_paused', 'scope')}) or vector(0)"}, "stat",
          "forebay pause lists them.", (1, 100)),
)  # fmt: skip
WAITING = (
    Panel("Jobs that wait", "short",
          {"{{queue}} {{class}}": most("forebay_queue_jobs", "queue", "class")}, stacked=True),
    Panel("Age of the oldest", "s",
          {"{{queue}} {{class}}": most("forebay_queue_oldest_seconds", "queue", "class")},
          limits=(600,)),
    Panel("Time in queues", "s",
          {"p50 {{kind}}": quantile(0.5, "forebay_job_wait_seconds", "kind"),
           "p95 {{kind}}": quantile(0.95, "forebay_job_wait_seconds", "kind")}),
    Panel("Submit to answer", "s",
          {"p50 {{kind}}": quantile(0.5, "forebay_job_duration_seconds", "kind"),
           "p95 {{kind}}": quantile(0.95, "forebay_job_duration_seconds", "kind")}),
)  # fmt: skip
RUNNING = (
    Panel("Jobs ended", "ops",
          {"{{state}} {{lane}}": rate("forebay_jobs_ended_total", "state", "lane")}, stacked=True),
    Panel("Failures by code", "ops",
          {"{{code}}": rate('forebay_jobs_ended_total{state="failed"}', "code")}, stacked=True),
    Panel("Jobs that run beside slots", "short",
          {"running {{queue}}": most("forebay_jobs_running", "queue"),
           "slots {{queue}}": most("forebay_queue_slots", "queue")},
          help="While jobs wait, as many run as there are slots, or more: the batch is full."),
    Panel("Batch in use", "percentunit",
          {"{{instance}} {{model}}": "sum by (instance, model) (forebay_engine_requests) / "
                                     "sum by (instance, model) (forebay_engine_slots)"},
          help="Above 100 % requests wait for a place in the batch."),
    Panel("Time of an attempt by worker", "s",
          {"{{instance}} {{lane}}":
           f"sum by (instance, lane) (rate(forebay_job_service_seconds_sum[{RATE}])) / "
           f"sum by (instance, lane) (rate(forebay_job_service_seconds_count[{RATE}]))"},
          help="The mean. A line above the others of its lane is a slow worker."),
    Panel("Tokens", "ops", {"{{direction}} {{model}}":
                            rate("forebay_tokens_total", "direction", "model")}),
    Panel("KV cache in use", "percentunit",
          {"{{instance}} {{model}}": "sum by (instance, model) (forebay_engine_cache_pages_used) / "
                                     "(sum by (instance, model) (forebay_engine_cache_pages) > 0)"},
          help="Full while the batch is not: more requests have no room, whatever the slots."),
    Panel("Prompts that were read before", "percentunit",
          {"{{model}}": f"{rate(CACHED, 'model')} / {rate(READ, 'model')}"},
          help="The share of the prompts' tokens that were in the cache of the model."),
    Panel("Engine restarts in 15 min", "short",
          {"{{instance}} {{model}}":
           "sum by (instance, model) (increase(forebay_engine_restarts_total[15m]))"}),
    Panel("GPU memory", "bytes",
          {"used {{instance}}": "max by (instance) (forebay_engine_memory_used_bytes)",
           "planned {{instance}}": "max by (instance) (forebay_engine_memory_planned_bytes)"}),
)  # fmt: skip
UP = (
    Panel("Share that goes to Bedrock", "percentunit",
          {"{{tenant}}": most("forebay_escalation_share", "tenant"),
           "target {{tenant}}": most("forebay_escalation_target", "tenant")}),
    Panel("Why, before the answer", "ops",
          {"{{lane}} {{reason}}": rate("forebay_decisions_total", "lane", "reason")}, stacked=True),
    Panel("Why, after the answer", "ops",
          {"{{reason}}": rate("forebay_escalations_total", "reason")}, stacked=True),
    Panel("Breaker", "bool_on_off", {"{{model}}": most("forebay_breaker_open", "model")},
          help="On: calls to Bedrock are held back; * is all models."),
    Panel("Second opinions that agree", "percentunit",
          {"{{kind}}": f"{rate(AGREED, 'kind')} / "
                       f"{rate('forebay_second_opinions_total', 'kind')}"}),
    Panel("Degraded answers", "ops", {"{{kind}}": rate("forebay_answers_degraded_total", "kind")}),
    Panel("Failed checks", "ops", {"{{check}} {{lane}}":
                                   rate("forebay_checks_failed_total", "check", "lane")}),
    Panel("Egress refusals", "short",
          {"{{lane}}": "sum by (lane) (increase(forebay_egress_refusals_total[15m]))"},
          help="Jobs that may not leave and were to go to Bedrock, in 15 minutes."),
)  # fmt: skip
MONEY = (
    Panel("Spent today", "currencyUSD", {"{{tenant}}": most("forebay_spent_usd", "tenant")}),
    Panel("Reserved", "currencyUSD", {"{{tenant}}": most("forebay_reserved_usd", "tenant")}),
    Panel("Budget used", "percentunit",
          {"{{tenant}}": f"1 - {most('forebay_budget_left_usd', 'tenant')} / "
                         f"({most('forebay_budget_usd', 'tenant')} > 0)"}, limits=(0.8, 1)),
    Panel("Cost an hour by model", "currencyUSD",
          {"{{model}}": "sum by (model) (increase(forebay_cost_usd_total[1h]))"}),
    Panel("Answers from the cache", "ops", {"{{kind}}": rate("forebay_cache_hits_total", "kind")}),
    Panel("Gateway requests", "ops",
          {"{{status}}": rate("forebay_gateway_requests_total", "status")}, stacked=True),
    Panel("Gateway p95", "s",
          {"{{route}}": quantile(0.95, "forebay_gateway_request_seconds", "route")}),
    Panel("Jobs by tenant", "ops",
          {"{{tenant}}": rate("forebay_tenant_jobs_ended_total", "tenant")}),
)  # fmt: skip
BATCHES = (
    Panel("Jobs that wait for a batch", "short",
          {"{{model}}": most("forebay_bedrock_group_jobs", "model")}, stacked=True),
    Panel("Longest wait for a batch", "s",
          {"{{model}}": most("forebay_bedrock_group_oldest_seconds", "model"),
           "max_wait_s": most("forebay_bedrock_group_limit_seconds")}),
    Panel("Batches on Bedrock", "short",
          {"{{state}}": most("forebay_bedrock_batches", "state"),
           "overdue": most("forebay_bedrock_batches_overdue")}),
    Panel("Batches that ended in 1 h", "short",
          {"{{outcome}}": most("forebay_bedrock_batches_ended_hour", "outcome")}, stacked=True,
          help="failed: their jobs are called one by one. unknown: the money of some records "
               "stays reserved."),
    Panel("Models without batches", "short",
          {"{{model}}": most("forebay_bedrock_batches_refused", "model")},
          help="S3 or Bedrock refused a batch: forebay doctor says why."),
    Panel("Moves of tenants", "s",
          {"{{tenant}} {{step}}": most("forebay_tenant_move_seconds", "tenant", "step")},
          help="For how long a move to another fleet has stood at its step."),
)  # fmt: skip
ROWS = {
    "Is it well?": (WELL, 3, 4),
    "What waits, and since when?": (WAITING, 6, 8),
    "What runs, how fast, what fails?": (RUNNING, 6, 8),
    "What goes up, and why?": (UP, 6, 8),
    "What does it cost?": (MONEY, 6, 8),
    "What is in batches, and who moves?": (BATCHES, 8, 8),
}


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana imports it."""
    panels, y = list[dict[str, Any]](), 0
    for title, (row, width, height) in ROWS.items():
        panels.append(_row(title, y))
        per_line = COLUMNS // width
        for at, panel in enumerate(row):
            place = {
                "x": at % per_line * width, "y": y + 1 + at // per_line * height,
                "w": width, "h": height,
            }  # fmt: skip
            panels.append(_panel(panel, place))
        y += 1 + -(-len(row) // per_line) * height
    for number, made in enumerate(panels, 1):
        made["id"] = number
    return {
        "uid": "forebay", "title": "Forebay", "tags": ["forebay"], "schemaVersion": 39,
        "editable": True, "refresh": "15s", "time": {"from": "now-3h", "to": "now"},
        "timezone": "utc", "templating": {"list": [_source()]}, "panels": panels,
    }  # fmt: skip


def _source() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _row(title: str, y: int) -> dict[str, Any]:
    place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
    return {"type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}


def _panel(panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + at), "datasource": SOURCE, "expr": query, "legendFormat": legend}
        for at, (legend, query) in enumerate(panel.queries.items())
    ]
    colours = ("green", "yellow", "red")
    steps = [
        {"color": colour, "value": limit}
        for colour, limit in zip(colours, (None, *panel.limits), strict=False)
    ]
    drawn = {"stacking": {"mode": "normal"}, "fillOpacity": 30} if panel.stacked else {}
    return {
        "type": panel.sort, "title": panel.title, "description": panel.help, "gridPos": place,
        "datasource": SOURCE, "targets": targets,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps},
                "custom": drawn if panel.sort == "timeseries" else {},
            },
            "overrides": [],
        },
    }  # fmt: skip


def text() -> str:
    """Return the dashboard as the file holds it."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
