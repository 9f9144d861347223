"""`forebay workers` names what is wrong, and prints one document with --json."""

from __future__ import annotations

import json

import pytest

from forebay.producers.cli.display import fitted
from forebay.producers.cli.main import run
from forebay.producers.cli.operator.workers import DISPENSABLE, HEADER
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.worker_status import WorkerStatus
from forebay.routing.overview.orders import Order, Orders
from forebay.routing.settings import Settings
from ledger_jobs import BELL


@pytest.fixture
def worker(redis, redis_url, monkeypatch):
    monkeypatch.setenv("FOREBAY_REDIS_URL", redis_url)
    about = WorkerStatus(
        name="local1@here", queues=("local.default",), engine="exl2", model="Qwen3-8B", slots=8,
        threads=18, hands=18, busy=5, jobs_minute=300, mean_s=0.8125,
        retries_minute=7, version="0.1.0",
    )  # fmt: skip
    ledger = Ledger(redis, Settings(), BELL)
    ledger.serve("local1@here", ["local.default"], 10, about.model_dump_json())
    return Orders(redis)


def test_the_list_says_how_busy_and_how_fast_each_worker_is(worker, capsys):
    assert run(["workers", "list"]) == 0
    header, line = capsys.readouterr().out.splitlines()
    shown = dict(zip(header.split(), line.split(), strict=True))
    assert shown | {"UP": "", "SEEN": ""} == {
        "WORKER": "local1@here", "QUEUES": "local.default", "MODEL": "Qwen3-8B",
        "STATE": "working", "BUSY": "5/18", "SLOTS": "8", "JOBS/MIN": "300", "S/JOB": "0.812",
        "RETRIES/MIN": "7", "VERSION": "0.1.0", "UP": "", "SEEN": "",
    }  # fmt: skip
    assert run(["workers", "list", "--json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)
    assert (document["state"], document["mean_s"], document["threads"]) == ("working", 0.8125, 18)


def test_drain_resume_and_scale_are_orders(worker, capsys):
    assert run(["workers", "drain", "local1@here"]) == 0
    assert run(["workers", "scale", "local1@here", "4", "--json"]) == 0
    assert worker.of("local1@here") == Order(drained=True, hands=4)
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "local1@here drained; 5 jobs that it holds go on"
    assert json.loads(out[1]) == {"worker": "local1@here", "state": "scaled"}
    assert run(["workers", "resume", "local1@here"]) == 0
    assert run(["workers", "resume", "local1@here"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "local1@here resumed", "local1@here was not drained",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["drain", "local9@here"], "no worker local9@here was seen in the last hour"),
        (["scale", "local1@here", "19"], "must be at most 18, the threads that local1@here has"),
        (["scale", "local1@here", "19"], "a larger FOREBAY_SLOTS"),
        (["scale", "local1@here", "0"], "N"),
    ],
)
def test_what_cannot_be_done_is_one_error_that_says_how(worker, capsys, words, said):
    assert run(["workers", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("width", "missing"),
    [(None, set()), (200, set()), (100, {"VERSION", "MODEL"}), (80, {"VERSION", "MODEL", "UP"})],
)
def test_a_narrow_terminal_has_fewer_columns(width, missing):
    cells = ("local1@gpu3", "local.default,embed", "SmolLM2-135M-Instruct.Q4", "working", "13/16",
             "4", "1,234", "0.812", "0", "0.1.0", "12m", "0.3s")  # fmt: skip
    header, rows = fitted(HEADER, [cells, cells], width or 10_000, DISPENSABLE)
    assert missing <= set(HEADER) - set(header)
    assert {"WORKER", "STATE", "BUSY", "JOBS/MIN", "S/JOB", "RETRIES/MIN"} <= set(header)
    for line in (header, *rows):
        assert width is None or sum(len(cell) + 2 for cell in line) - 2 <= width
