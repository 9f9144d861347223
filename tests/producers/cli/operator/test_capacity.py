"""`forebay capacity`: what is given, what is measured, and what is missing."""

import json
import time

import pytest

from forebay.routing.books.job_book import JobBook
from forebay.routing.books.job_counts import JobGroup, job_counts, up_count, worked_count
from forebay.routing.ledger.worker_status import WorkerStatus
from ledger_jobs import SURE, answer, job, put

GIVEN = ["capacity", "--wait", "2", "--rate", "12", "--service", "1.8", "--spread", "0.9"]


@pytest.fixture
def fleet(ledger, redis):
    """Two answered jobs and a shard, a worker of four slots, 7,200 jobs and a bulk last hour."""
    about = WorkerStatus(name="local1@here", queues=("local.default",), slots=4)
    ledger.serve("local1@here", ["local.default"], 10, about.model_dump_json())
    for _ in range(3):
        (job_id,) = put(ledger, job())
        ledger.route(ledger.claim("route"), "local.default", "deny", "verdict_easy", SURE)
        claim = ledger.claim("local.default")
        redis.hset(f"fb:job:{job_id}", "worked_ms", 500)
        ledger.settle(claim, answer(claim))
    group = JobGroup("acme", "summarize", "deny", "done", "local", "m")
    counts = job_counts(group, jobs=8_200, rows=1_000, tokens_in=9)
    counts |= {
        worked_count("acme", "summarize", "local.default"): 7_200,
        worked_count("acme", "embed", "embed"): 3_600,
        up_count("acme", "summarize", "doubtful"): 500,  # rows of the bulk
    }
    JobBook(redis).add(counts, time.time() - 3_600)
    redis.hset(f"fb:job:{job_id}", mapping={"rows": 200, "worked_ms": 60_000})  # a shard


def test_a_load_beyond_all_bounds_names_the_bound(shell):
    words = ["capacity", "--wait", "2", "--rate", "100000", "--service", "1.8", "--slots", "8"]
    code, out, err = shell(*words, FOREBAY_REDIS_URL="redis://127.0.0.1:1/0")
    assert code == 0
    assert "jobs come      100,000 a second" in out
    assert "up to 10,000 workers, none meets that" in err


def test_a_given_load_needs_no_fleet(shell):
    code, out, err = shell(*GIVEN, "--slots", "8", FOREBAY_REDIS_URL="redis://127.0.0.1:1/0")
    assert code == 0
    rows = [line.split() for line in out.splitlines()[4:]]
    assert [(row[0], row[-2]) for row in rows] == [
        ("2", "no"), ("3", "yes"), ("4", "yes"), ("5", "yes"),
    ]  # fmt: skip
    assert rows[0][4:6] == ["grows", "grows"]
    assert "3 are enough" in err


def test_what_is_not_given_is_measured(forebay, fleet):
    code, out, _ = forebay("capacity", "--wait", "0.2", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["rate"] == 2.0
    assert found["service_s"] == pytest.approx(0.5, abs=0.05)
    assert found["service_cv"] < 0.1
    assert found["slots_per_worker"] == 4
    assert found["workers"] == 1
    assert found["sizes"][0]["busy"] == pytest.approx(0.25, abs=0.03)


def test_the_rate_is_that_of_the_queue(forebay, fleet):
    args = ["--wait", "1", "--service", "1", "--slots", "4", "--json"]
    assert json.loads(forebay("capacity", "--queue", "embed", *args)[1])["rate"] == 1.0


def test_service_times_come_from_a_file(forebay, tmp_path):
    path = tmp_path / "times.txt"
    path.write_text("1.0\n3.0\n\n")
    args = ["--wait", "1", "--rate", "2", "--slots", "4", "--service-times", str(path), "--json"]
    found = json.loads(forebay("capacity", *args)[1])
    assert (found["service_s"], found["service_cv"]) == (2.0, 0.5)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--wait", "0"], "--wait: must be above 0"),
        (["--wait", "1", "--share", "1"], "--share: must lie between 0 and 1"),
        (["--wait", "1", "--rate", "nan"], "--rate: must be above 0"),
        (["--wait", "1"], "--service: is needed: local.default has no answered job"),
        (
            ["--wait", "1", "--service", "1"],
            "--rate: is needed: no job of local.default was counted",
        ),
        (["--wait", "1", "--service", "1", "--rate", "1"], "--slots: is needed: no worker"),
        (["--wait", "1", "--service-times", "FILE"], "line 2 of"),
        (["--wait", "1", "--service-times", "nowhere"], "--service-times: nowhere cannot be read"),
    ],
)
def test_what_is_wrong_or_missing_is_named(forebay, tmp_path, args, said):
    (tmp_path / "FILE").write_text("1\nsoon\n")
    args = [str(tmp_path / "FILE") if arg == "FILE" else arg for arg in args]
    code, _, err = forebay("capacity", *args)
    assert code == 2
    assert said in err
