"""The queries by which KEDA scales the local lane, evaluated by Prometheus' own promtool.

KEDA stops the last worker if every query is 0, and goes to the fallback if a query has no sample.
"""

from __future__ import annotations

import json
import subprocess

import pytest
import yaml

from checks import promtool
from local.fleet import ROOT

pytestmark = pytest.mark.deploy

SCALED = ROOT / "deploy/kubernetes/components/autoscaling/local.yaml"
TRIGGERS = {
    each["name"]: each["metadata"]["query"]
    for each in yaml.safe_load(SCALED.read_text())["spec"]["triggers"]
}
WORK, DUE = "waiting-and-in-flight", "due-within-a-minute"
SWEEPERS = ("sweeper-1", "sweeper-2")
IDLE = {
    'forebay_queue_jobs{queue="local.default",class="interactive"}': 0,
    'forebay_queue_jobs{queue="local.default",class="bulk"}': 0,
    'forebay_queue_jobs{queue="embed",class="interactive"}': 0,
    'forebay_queue_jobs{queue="bedrock",class="interactive"}': 0,
    'forebay_queue_shards{queue="local.default"}': 0,
    'forebay_jobs_running{queue="local.default"}': 0,
    'forebay_jobs_due{within="60"}': 0,
    "forebay_ledger_read": 1,
}
EMBED = 'forebay_queue_jobs{queue="embed",class="interactive"}'
BULK = 'forebay_queue_jobs{queue="local.default",class="bulk"}'
INTERACTIVE = 'forebay_queue_jobs{queue="local.default",class="interactive"}'
RUNNING = 'forebay_jobs_running{queue="local.default"}'
SHARDS = 'forebay_queue_shards{queue="local.default"}'
BEDROCK = 'forebay_queue_jobs{queue="bedrock",class="interactive"}'
DUE_SOON = 'forebay_jobs_due{within="60"}'

#: What the sweepers serve beside an idle fleet's figures, and the value of each query.
CASES = {
    "nothing waits and nothing runs": ({}, 0, 0),
    "jobs wait": ({INTERACTIVE: 5, BULK: 7}, 12, 0),
    "the last jobs run": ({RUNNING: 3}, 3, 0),
    "texts wait for their vectors": ({EMBED: 4}, 4, 0),
    "shards count as half of what a worker has": ({SHARDS: 2}, 32, 0),
    "jobs of the other lane need no local worker": ({BEDROCK: 9}, 0, 0),
    "a deadline is near": ({DUE_SOON: 90}, 0, 90),
    "no job ever waited here": (dict.fromkeys((INTERACTIVE, BULK, SHARDS, RUNNING, EMBED)), 0, 0),
}  # fmt: skip


def values(tmp_path, series) -> dict[str, float | None]:
    """Return what each query yields for series; `None` if it yields no sample."""
    return {name: value(tmp_path, query, series) for name, query in TRIGGERS.items()}


def value(tmp_path, query, series) -> float | None:
    """Ask promtool: a test that expects no sample fails, and prints the samples that came."""
    asked = {"expr": query, "eval_time": "5m", "exp_samples": []}
    test = {"interval": "1m", "input_series": series, "promql_expr_test": [asked]}
    file = tmp_path / "test.yaml"
    file.write_text(json.dumps({"rule_files": [], "evaluation_interval": "1m", "tests": [test]}))
    command = [promtool.find(), "test", "rules", file.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    (got,) = [line for line in (done.stdout + done.stderr).splitlines() if "got:" in line]
    return float(got.rsplit(" ", 1)[1].strip('",'))


def served(figures) -> list[dict[str, str]]:
    """Return the series of a fleet with two sweepers that serve these figures."""
    return [
        {"series": labelled(name, instance), "values": f"{number}x10"}
        for name, number in (IDLE | figures).items() if number is not None
        for instance in SWEEPERS
    ]  # fmt: skip


def labelled(name, instance) -> str:
    name, _, labels = name.partition("{")
    return (
        f'{name}{{instance="{instance}",{labels}' if labels else f'{name}{{instance="{instance}"}}'
    )


@pytest.mark.parametrize("name", CASES)
def test_a_query_counts_all_work_once(name, tmp_path):
    figures, work, due = CASES[name]
    assert values(tmp_path, served(figures)) == {WORK: work, DUE: due}


def test_without_sweepers_there_is_no_figure_and_not_zero(tmp_path):
    assert values(tmp_path, []) == {WORK: None, DUE: None}


def test_a_sweeper_that_cannot_read_the_ledger_is_no_reason_to_stop_workers(tmp_path):
    unread = [
        {"series": labelled("forebay_ledger_read", instance), "values": "0x10"}
        for instance in SWEEPERS
    ]
    assert values(tmp_path, unread)[WORK] is None
