"""The real promtool catches planted mistakes in the alerts, and finds a real fleet healthy."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from checks import promtool
from forebay.producers.client import Client
from forebay.routing.jobs import Classify, Label
from forebay.routing.settings import Settings
from local.fleet import ROOT, Fleet

pytestmark = pytest.mark.deploy

RULES = ROOT / "deploy" / "prometheus"
MINUTES = 120


@pytest.fixture(scope="module")
def program():
    return promtool.find()


def failures(program, folder) -> str:
    """Run the tests of the rules in a folder; return what failed, or nothing."""
    done = subprocess.run(
        [program, "test", "rules", "alerts_test.yaml"], cwd=folder, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize(
    ("right", "wrong", "alert"),
    [
        ("forebay_redis_durable) == 0", "forebay_redis_durable) == 2", "ForebayRedisNotDurable"),
        ('state="failed"}[15m', 'state="faled"}[15m', "ForebayDeadRate"),
        ("forebay_leases_recovered_hour) > 0", "forebay_leases_recovered_hour) >= 0",
         "ForebayLeasesRecovered"),
        ("forebay_breaker_open", "forebay_braker_open", "ForebayBreakerOpen"),
    ],
)  # fmt: skip
def test_a_planted_mistake_is_caught(program, tmp_path, right, wrong, alert):
    folder = shutil.copytree(RULES, tmp_path / "rules")
    rules = folder / "alerts.yaml"
    text = rules.read_text()
    assert right in text
    assert failures(program, folder) == ""
    rules.write_text(text.replace(right, wrong, 1))
    assert f"alertname: {alert}," in failures(program, folder)


@pytest.fixture(scope="module")
def scrapes(tmp_path_factory):
    """Return what all parts of a healthy fleet serve, twice, with jobs before and between."""
    env = {"FOREBAY_METRICS_PORT": "0", "FOREBAY_LOG": "json"}
    with Fleet(tmp_path_factory.mktemp("healthy"), env) as fleet:
        fleet.start_redis()
        for part in ("mock_bedrock", "router", "sweeper", "bedrock"):
            fleet.start(part)
        fleet.start("local", FOREBAY_ENGINE="echo")
        fleet.start("gateway", FOREBAY_GATEWAY_TENANT="acme")
        fleet.wait_ready()
        with Client(settings=Settings(redis_url=fleet.url), tenant="acme") as client:
            yield [scrape_after_jobs(fleet, client) for _ in range(2)]


def scrape_after_jobs(fleet, client) -> dict[str, dict[str, float]]:
    labels = [Label(name="a"), Label(name="b")]
    for egress in ("allow", "deny"):
        requests = [Classify(text=f"text {i}", labels=labels) for i in range(20)]
        assert len(list(client.map(requests, egress=egress))) == 20
    parts = {proc.name: metrics_of(proc) for proc in fleet.procs}
    parts["gateway1"] = f"{fleet.gateway_url}/metrics"
    return {name: read(url) for name, url in parts.items() if url}


def metrics_of(proc) -> str:
    lines = [json.loads(line) for line in proc.log.read_text().splitlines() if line[:1] == "{"]
    ready = [line["message"] for line in lines if line.get("event") == "metrics.ready"]
    return ready[-1].removeprefix("metrics at ") if ready else ""


def read(url) -> dict[str, float]:
    """Return the samples of a scrape by their series."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=30) as response:
        families = text_string_to_metric_families(response.read().decode())
        return {
            sample.name + json.dumps(dict(sorted(sample.labels.items()))): sample.value
            for family in families for sample in family.samples
            if not sample.name.endswith(("_bucket", "_created"))
        }  # fmt: skip


def series(scrapes) -> list[dict[str, str]]:
    """Return the series of a fleet that goes on as it did between the two scrapes."""
    first, second = scrapes
    made = []
    for part, samples in second.items():
        about = {"job": "forebay", "instance": part}
        made.append({"series": named("up", about), "values": f"1x{MINUTES}"})
        for key, value in samples.items():
            name, brace, labels = key.partition("{")
            before = first[part].get(key, 0.0)
            grows = name.endswith(("_total", "_count", "_sum"))
            step = value - before if grows else 0.0
            made.append({
                "series": named(name, json.loads(brace + labels) | about),
                "values": f"{value:g}+{max(0.0, step):g}x{MINUTES}",
            })  # fmt: skip
    return made


def named(name, labels) -> str:
    return (
        name + "{" + ",".join(f"{key}={json.dumps(value)}" for key, value in labels.items()) + "}"
    )


def test_a_real_healthy_fleet_raises_no_alert(program, scrapes, tmp_path):
    assert set(scrapes[0]) == {"router1", "local1", "bedrock1", "sweeper1", "gateway1"}
    folder = shutil.copytree(RULES, tmp_path / "rules")
    every = [
        {"eval_time": at, "alertname": line.split()[-1]}
        for at in ("10m", f"{MINUTES}m")
        for line in (folder / "alerts.yaml").read_text().splitlines() if "- alert:" in line
    ]  # fmt: skip
    healthy = {"interval": "1m", "input_series": series(scrapes), "alert_rule_test": every}
    test = {"rule_files": ["alerts.yaml"], "evaluation_interval": "1m", "tests": [healthy]}
    (folder / "alerts_test.yaml").write_text(json.dumps(test))
    assert len(every) > 40
    assert failures(program, folder) == ""
    healthy["input_series"] = [
        each for each in series(scrapes) if 'queue="sweep"' not in each["series"]
    ]
    (folder / "alerts_test.yaml").write_text(json.dumps(test))
    assert "ForebaySweeperGone" in failures(program, folder)
