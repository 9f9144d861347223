"""`forebay top` shows queues, workers, money and failures, at any width, and no content."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from dataclasses import replace

import pytest
from rich.console import Console

from forebay.producers.cli.main import run
from forebay.producers.cli.operator.top import screen
from forebay.routing.jobs import Job, Receipt, Summarize
from forebay.routing.ledger.reader import LedgerReader
from forebay.routing.ledger.worker_status import WorkerStatus
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.pauses import Pauses
from forebay.routing.limits.spillway import Spillway
from forebay.routing.overview.snapshot import Snapshots
from forebay.routing.settings import Settings
from forebay.routing.store.connection import connect
from shards import put, shard

CANARY = "kanarie"


@pytest.fixture
def busy(ledger, redis):
    """Make a dead, a running and two waiting jobs, a worker, and a call that was paid for."""
    for tenant in ("acme", "beta", "gamma", "gamma"):
        ledger.create([Job(tenant=tenant, request=Summarize(text=f"{CANARY} text"))])
    claims = [ledger.claim("route") for _ in range(2)]
    failed = {"status": "failed", "error": "too_long"}
    ledger.settle(claims[0], Receipt(**claims[0].record.heading(), **failed))
    ledger.serve("router1@here", ["route"], 60)
    limits = {"term_s": 60}
    Budget(redis).reserve("1", "acme.1", "acme", 10**9, **limits)
    Budget(redis).settle("1", 5 * 10**8)
    return claims[0].id


@pytest.fixture
def snapshots(redis_url):
    settings = Settings(redis_url=redis_url)
    return Snapshots(LedgerReader(connect(settings), settings))


def drawn(now, before=None, width=80) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(screen(now, before, width))
    return capture.get()


@pytest.mark.parametrize("width", [60, 80, 160])
def test_every_figure_is_on_the_screen_and_no_line_is_too_long(busy, snapshots, width):
    text = drawn(snapshots.take(), width=width)
    assert max(map(len, text.splitlines())) <= width
    for words in ("route", "router1@here", "too_long", "summarize", "DEAD (1)", busy[:20]):
        assert words in text
    assert busy in text or width < 80  # the whole id, which other commands take
    assert "$0.5000" in text or width < 80
    assert CANARY not in text


def test_in_a_pipe_no_id_is_cut_off(busy, shell, ledger):
    tenant = "t" * 40
    ledger.create([Job(tenant=tenant, request=Summarize(text="text"))])
    while claim := ledger.claim("route"):
        ledger.settle(claim, Receipt(**claim.record.heading(), status="failed", error="too_long"))
    _, out, _ = shell("status", COLUMNS="")
    assert re.search(tenant + r"\.[0-9a-f]{32} .+ route\n", out)
    assert max(map(len, out.splitlines())) <= 120


def test_a_call_that_cost_next_to_nothing_did_cost(busy, snapshots):
    spent = {"*": (10_450, 0), "acme": (10_450, 0)}
    text = drawn(replace(snapshots.take(), spent=spent, budgets={"*": 50_000_000_000}))
    assert text.count("< $0.0001") == 2
    assert "$0.0000" in text  # reserved


def test_a_budget_of_less_than_a_cent_is_not_shown_as_nothing(busy, snapshots):
    now = replace(snapshots.take(), budgets={"*": 2_000_000}, failures=())
    text = drawn(now)
    assert "$0.0020" in text
    assert not {"AGE", "CODE"} & set(text.split())  # no columns without a row


def test_a_narrow_screen_has_the_names_of_queues_with_their_figures(busy, snapshots):
    lines = drawn(snapshots.take(), width=60).splitlines()
    heads = next(line for line in lines if "INTERACTIVE" in line)
    assert heads.split() == [
        "QUEUE", "INTERACTIVE", "BULK", "SHARDS", "OLDEST", "RUNNING", "WORKERS",
    ]  # fmt: skip
    assert any(line.startswith("route ") for line in lines)


@pytest.mark.parametrize("width", [80, 160])
def test_beside_a_long_name_no_figure_is_cut_off(busy, snapshots, ledger, redis, width):
    tenant, queue = "t" * 63, "local." + "q" * 40
    (job_id,) = ledger.create([Job(tenant=tenant, request=Summarize(text="text"))])
    for claim in iter(lambda: ledger.claim("route"), None):
        receipt = {"status": "failed", "error": "repair_impossible"}
        ledger.settle(claim, Receipt(**claim.record.heading(), **receipt))
    Budget(redis).reserve("2", job_id, tenant, 1_234_567_800_000, term_s=60)
    about = WorkerStatus(
        name="w" * 60, queues=(queue, "embed"), slots=3, jobs_minute=12, mean_s=3.25
    )
    ledger.serve("w" * 60, [queue, "embed"], 60, about.model_dump_json())
    text = drawn(snapshots.take(), width=width)
    for shown in ("$1,234.5678", "SPENT", "RESERVED", "BUDGET", "repair_impossible", "CHANGE/s",
                  "WORKERS", "S/JOB", "3.25", "ttt…", "www…"):  # fmt: skip
        assert shown in text, shown
    assert max(map(len, text.splitlines())) <= width


def test_a_wide_screen_has_two_columns(busy, snapshots):
    now = snapshots.take()
    assert len(drawn(now, width=160).splitlines()) < len(drawn(now, width=80).splitlines())


def test_a_queue_shows_by_how_much_it_grows(busy, snapshots, ledger):
    before = snapshots.take()
    ledger.create([Job(tenant="acme", request=Summarize(text="t")) for _ in range(3)])
    now = replace(snapshots.take(), at_ms=before.at_ms + 2_000)
    (row,) = [line for line in drawn(now, before).splitlines() if line.startswith("route ")]
    assert row.split()[:5] == ["route", "5", "0", "0", "+1.5"]


def test_shards_of_a_bulk_wait_in_sight_and_are_not_late(snapshots, ledger, redis):
    made = shard("a", "b")
    put(ledger, made)
    redis.hincrby(f"fb:job:{made.id}", "created", -3_600_000)
    now = snapshots.take()
    (row,) = [line for line in drawn(now).splitlines() if line.startswith("route ")]
    assert row.split() == ["route", "0", "0", "1", "0", "0"]  # nobody serves the queue
    (line,) = now.queues
    assert (line.waiting["shards"], line.oldest_s) == (1, 0)


def test_a_shut_way_to_bedrock_says_why(busy, snapshots, redis):
    Spillway(redis).fail("*", "access_denied", "the credentials have expired")
    assert "shut: the credentials have expired" in drawn(snapshots.take(), width=160)


def test_tenants_that_spent_alike_keep_their_places(busy, snapshots):
    now = replace(snapshots.take(), spent={"*": (2, 0), "zeta": (1, 0), "acme": (1, 0)})
    screens = [drawn(now), drawn(replace(now, spent=dict(reversed(now.spent.items()))))]
    assert screens[0] == screens[1]
    assert "fleet, taking calls" in screens[0]


def test_the_document_has_the_same_figures(busy, forebay):
    code, out, _ = forebay("top", "--json")
    shown = json.loads(out)
    assert code == 0
    (route,) = [line for line in shown["queues"] if line["queue"] == "route"]
    assert (route["waiting"], route["running"]) == ({"interactive": 2, "bulk": 0, "shards": 0}, 1)
    assert route["workers"] == ["router1@here"]
    assert shown["spent_usd"] == {"acme": 0.5, "*": 0.5}
    assert shown["dead"] == [
        {"tenant": busy.partition(".")[0], "kind": "summarize", "code": "too_long", "jobs": 1}
    ]


def test_without_a_terminal_it_is_printed_once(busy, shell):
    code, out, _ = shell("top", COLUMNS="80")
    assert code == 0
    assert "too_long" in out


def test_on_a_terminal_it_goes_on_until_its_rounds_are_over(busy, argv, redis_url):
    reads, writes = pty.openpty()
    os.set_blocking(reads, False)
    env = {"FOREBAY_REDIS_URL": redis_url, "TERM": "xterm", "COLUMNS": "80", "PATH": ""}
    done = subprocess.run(
        argv("top", "--rounds", "2", "--interval", "0.3"), stdout=writes, stdin=writes,
        stderr=subprocess.PIPE, env=env, timeout=60, check=False,
    )  # fmt: skip
    os.close(writes)
    shown = os.read(reads, 100_000).decode()
    os.close(reads)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "too_long" in shown


def test_a_worker_says_how_busy_and_how_fast_it_is(busy, snapshots, ledger):
    about = WorkerStatus(
        name="local1@here", queues=("local.default",), hands=18, busy=7, jobs_minute=240,
        mean_s=1.25, drained=True, reserve=6,
    )  # fmt: skip
    ledger.serve("local1@here", ["local.default"], 0, about.model_dump_json())
    now = snapshots.take()
    (line,) = [line for line in drawn(now).splitlines() if line.startswith("local1@here")]
    assert line.split() == ["local1@here", "local.default", "drained", "7/24", "240", "1.25"]


def test_a_worker_that_is_gone_has_no_figures(busy, snapshots, ledger, redis):
    about = WorkerStatus(name="local1@here", queues=("local.default",), hands=4, busy=3)
    ledger.serve("local1@here", ["local.default"], 10, about.model_dump_json())
    redis.zincrby("fb:workers", -60_000, "local1@here")
    (line,) = [line for line in drawn(snapshots.take()).splitlines() if "gone" in line]
    assert line.split() == ["local1@here", "local.default", "gone"]


def test_jobs_that_wait_for_a_retry_are_told_apart(busy, snapshots, ledger):
    claim = ledger.claim("route")
    ledger.retry(claim, "engine_busy", delay_s=60, counted=False)
    assert "1 more job waits for a retry" in drawn(snapshots.take())


def test_the_money_of_the_mock_is_marked_and_that_of_a_private_endpoint_is_not(forebay, redis):
    Spillway(redis).announce("http://127.0.0.1:4567")
    assert "MOCK OF BEDROCK TODAY, NO MONEY" in forebay("top")[1]
    Spillway(redis).announce("https://vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com")
    assert "\nBEDROCK TODAY" in forebay("top")[1]
    assert json.loads(forebay("top", "--json")[1])["bedrock_mocked"] is False


def test_budgets_are_unknown_where_the_workers_have_another_policy(busy, snapshots, ledger):
    assert "$50.00" in drawn(snapshots.take())
    about = WorkerStatus(name="bedrock1@here", queues=("bedrock",), policy="another")
    ledger.serve("bedrock1@here", ["bedrock"], 10, about.model_dump_json())
    now = snapshots.take()
    assert now.budgets is None
    text = drawn(now)
    assert "unknown" in text
    assert "$50.00" not in text
    assert "This shell has another policy than the workers" in text


def test_what_is_paused_has_a_line_of_its_own(busy, snapshots, redis):
    for scope in ("bedrock:acme", "kind:embed"):
        Pauses(redis).pause(scope, "")
    assert drawn(snapshots.take()).splitlines()[1] == "paused: bedrock:acme, kind:embed"


def test_status_without_an_id_is_the_whole_fleet_as_one_document(
    busy, ledger, redis_url, monkeypatch, capsys
):
    monkeypatch.setenv("FOREBAY_REDIS_URL", redis_url)
    about = WorkerStatus(name="local1@here", queues=("local.default",))
    ledger.serve("local1@here", ["local.default"], 10, about.model_dump_json())
    assert run(["status", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["dead"] == [
        {"tenant": "acme", "kind": "summarize", "code": "too_long", "jobs": 1}
    ]
    assert [worker["name"] for worker in document["workers"]] == ["local1@here"]
    assert document["spent_usd"]["acme"] == 0.5
    assert document["budgets_usd"]["*"] == document["budget_usd"]
    assert {line["queue"] for line in document["queues"]} >= {"route", "local.default"}
    assert run(["status"]) == 0
    assert "local1@here" in capsys.readouterr().out
