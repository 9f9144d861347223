"""The dashboard and the alerts are current, and name only metrics that are documented."""

from __future__ import annotations

import json
import re

import yaml

from grafana import dashboard
from local.fleet import ROOT

METRIC = re.compile(r"\bforebay_\w+")
DOCUMENTED = set(
    re.findall(r"^\| `(forebay_\w+)`", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
)
RULES = ROOT / "deploy/prometheus"


def queries():
    return [
        target["expr"] for panel in json.loads(dashboard.text())["panels"]
        for target in panel.get("targets", ())
    ]  # fmt: skip


def unknown(text) -> set[str]:
    names = {re.sub(r"_(bucket|sum|count)$", "", name) for name in METRIC.findall(text)}
    return {name for name in names if name not in DOCUMENTED}


def alerts() -> dict:
    groups = yaml.safe_load((RULES / "alerts.yaml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def test_the_committed_dashboard_is_what_the_script_makes():
    assert (ROOT / "deploy/grafana/forebay.json").read_text() == dashboard.text(), (
        "run python deploy/grafana/dashboard.py"
    )


def test_the_dashboard_and_the_alerts_name_documented_metrics_only():
    assert len(queries()) > 30
    assert {query: found for query in queries() if (found := unknown(query))} == {}
    assert {
        name: found for name, rule in alerts().items() if (found := unknown(rule["expr"]))
    } == {}
    assert unknown("sum(forebay_no_such_metric_bucket)") == {"forebay_no_such_metric"}


def test_no_panel_lies_on_another():
    taken = set()
    for panel in json.loads(dashboard.text())["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_each_alert_has_a_test_in_which_it_fires_and_is_silent_in_a_healthy_fleet():
    tests = yaml.safe_load((RULES / "alerts_test.yaml").read_text())["tests"]
    healthy, *events = tests
    silent = [
        case["alertname"] for case in healthy["alert_rule_test"] if not case.get("exp_alerts")
    ]
    fires = [
        case["alertname"] for test in events for case in test["alert_rule_test"]
        if case["exp_alerts"]
    ]  # fmt: skip
    assert sorted(silent) == sorted(fires) == sorted(alerts())


def test_each_alert_says_what_is_wrong_and_what_to_do():
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in {"critical", "warning"}, name
        assert rule["annotations"].keys() == {"summary", "action"}, name


def test_the_operators_page_names_each_alert():
    page = (ROOT / "docs/operate.md").read_text()
    assert set(re.findall(r"`(Forebay[A-Z]\w+)`", page)) == set(alerts())
