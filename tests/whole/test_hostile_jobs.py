"""Nothing that a caller may send stops a lane: others are answered, and what is spent is booked."""

from __future__ import annotations

import json
import time

import pytest

from forebay.producers.client import Client
from forebay.routing.errors import BadAnswer
from forebay.routing.jobs import Extract, Generate, Message, Summarize
from forebay.routing.limits.budget import Budget
from forebay.routing.settings import Settings
from local.fleet import MOCK_ENV, Fleet
from mock_bedrock.server import MockBedrock
from patience import until

pytestmark = pytest.mark.slow


def hostile() -> dict:
    """Return a small schema that takes a validator days."""
    schema = {
        "type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"],
        "unevaluatedProperties": False,
    }  # fmt: skip
    for _ in range(22):
        schema = {"type": "object", "allOf": [schema], "unevaluatedProperties": False}
    return schema


HOSTILE = Extract(text='[[echo: say={"a":"x"}]] a x', schema=hostile())


class Answers:
    """The answers of the mock."""

    @staticmethod
    def answer(prompt: str, _schema: object) -> str:
        return '{"a":"x"}' if "unevaluated" in prompt else "We met at noon."


@pytest.fixture(scope="module")
def mock():
    with MockBedrock() as mock:
        mock.references = Answers
        yield mock


@pytest.fixture(scope="module")
def fleet(tmp_path_factory, mock):
    with Fleet(tmp_path_factory.mktemp("hostile")) as fleet:
        fleet.start_redis()
        for part in ("router", "sweeper"):
            fleet.start(part)
        fleet.start("local", FOREBAY_ENGINE="echo")
        fleet.start("bedrock", **MOCK_ENV, FOREBAY_BEDROCK_ENDPOINT=mock.url,
                    FOREBAY_BEDROCK_CONCURRENCY="4")  # fmt: skip
        fleet.wait_ready()
        yield fleet


@pytest.fixture
def clients(fleet):
    settings = Settings(redis_url=fleet.url)
    with Client(tenant="bad", settings=settings) as bad, Client(settings=settings) as good:
        yield bad, good


def test_a_local_lane_answers_others_while_it_is_attacked(clients):
    bad, good = clients
    ids = [bad.submit(HOSTILE) for _ in range(8)]
    answer = good.run(Summarize(text="We met at noon."), timeout=40)
    assert answer.status == "done"
    results = [bad.result(job_id, timeout=60) for job_id in ids]
    assert {result.status for result in results} == {"done"}
    assert all(result.degraded and "unchecked" in result.reasons for result in results)
    assert {json.dumps(result.content.data) for result in results} == {'{"a": "x"}'}


def test_bedrock_answers_others_while_it_is_attacked_and_books_every_call(clients, fleet, mock):
    bad, good = clients
    ids = [bad.submit(HOSTILE, lane="bedrock", egress="allow") for _ in range(4)]
    answer = good.run(Summarize(text="x y z"), lane="bedrock", egress="allow", timeout=40)
    assert answer.status == "done"
    results = [bad.result(job_id, timeout=60) for job_id in ids]
    assert {result.status for result in results} == {"done"}
    assert all("unchecked" in result.reasons for result in results)
    settled, reserved = Budget(bad._ledger.redis).spent()
    assert settled == sum(result.cost_nusd for result in [*results, answer]) > 0
    assert reserved == 0
    assert len(mock.calls) == 5


def test_a_cancelled_job_frees_its_thread(clients):
    bad, good = clients
    ids = [bad.submit(HOSTILE) for _ in range(8)]
    until(lambda: all(bad.status(job_id).state != "waiting" for job_id in ids), 20)
    for job_id in ids:
        bad.cancel(job_id)
    began = time.monotonic()
    assert good.run(Summarize(text="We met at noon."), timeout=40).status == "done"
    assert time.monotonic() - began < 20


HALF = "\\ud83d"  # of an emoji, as JSON writes it
UNSTORABLE = [f'{{"a": "caf {HALF} end"}}', f'{{"a{HALF}": "x"}}', '{"a": 1e999}']


@pytest.mark.parametrize("said", UNSTORABLE)
def test_an_answer_that_cannot_be_stored_ends_its_job_with_its_own_cause(clients, said):
    _, client = clients
    text = f"[[echo: say={said}]]"
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    for request in (
        Extract(text=text, schema={"type": "object"}),
        Extract(text=text, schema=schema),
        Generate(messages=[Message(role="user", content=text)], schema=schema),
    ):
        with pytest.raises(BadAnswer) as caught:
            client.run(request, timeout=60)
        assert client.status(caught.value.job_id).receipt.error == "bad_answer"


def test_no_worker_has_left(fleet):
    assert all(proc.alive for proc in fleet.procs)
