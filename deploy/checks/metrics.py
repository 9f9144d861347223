"""Check Prometheus' configurations, the alerts with their tests, and the dashboard's queries."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from checks.promtool import PromtoolMissing, find
from checks.tools import Problem, run

CONFIGURATIONS = ("prometheus.yaml", "compose.yaml")
TESTS = "alerts_test.yaml"
DASHBOARD = "forebay.json"


def check(deploy: Path) -> Iterator[Problem]:
    """Yield what promtool has against the files. Without promtool, say so in a problem."""
    try:
        promtool = find()
    except PromtoolMissing as error:
        yield Problem("promtool", str(error))
        return
    rules = deploy / "prometheus"
    for file in CONFIGURATIONS:
        yield from _problems(file, promtool, "check", "config", rules / file)
    yield from _problems(TESTS, promtool, "test", "rules", rules / TESTS)
    with tempfile.TemporaryDirectory() as folder:
        queries = Path(folder) / "queries.yaml"
        queries.write_text(as_rules(json.loads((deploy / "grafana" / DASHBOARD).read_text())))
        yield from _problems(DASHBOARD, promtool, "check", "rules", queries)


def _problems(file: str, *words: str | Path) -> Iterator[Problem]:
    done = run(*map(str, words))
    if done.code:
        yield Problem(file, f"{done.output}\n{done.errors}".strip())


def as_rules(dashboard: dict[str, list[dict[str, list[dict[str, str]]]]]) -> str:
    """Return the queries of a dashboard as recording rules, which promtool can check."""
    queries = [
        target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())
    ]
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(queries)
    ]
    return json.dumps({"groups": [{"name": "dashboard", "rules": rules}]})  # JSON is YAML
