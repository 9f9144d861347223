"""Answers from the cache: given at once and without a job, and only where a job would give them."""

from __future__ import annotations

import time

import pytest
import redis as redis_py

from forebay.routing.store.served_models import ServedModels

pytestmark = pytest.mark.slow


def ask(client, text, **own):
    options = {"forebay": {"cache": True, **own}}
    messages = [{"role": "user", "content": text}]
    return client.chat.completions.create(model="auto", messages=messages, extra_body=options)


def test_a_repeated_request_gets_the_answer_of_the_first_job_without_a_job(openai_client, http):
    first = ask(openai_client, "Remember the dam.")
    assert not first.forebay["cached"]
    again = ask(openai_client, "Remember the dam.")
    assert again.choices[0].message.content == "Remember the dam."
    assert again.forebay["cached"]
    assert again.forebay["reason"] == "cached"
    assert again.forebay["job_id"] == first.forebay["job_id"]
    assert again.usage.total_tokens == 0
    other = ask(openai_client, "Remember the weir.")
    assert not other.forebay["cached"]
    assert other.forebay["job_id"] != first.forebay["job_id"]


def test_an_answer_is_forgotten_with_the_job_that_made_it(openai_client, http):
    first = ask(openai_client, "Forget me soon.")
    assert http.delete(f"/jobs/{first.forebay['job_id']}").json()["forgotten"]
    again = ask(openai_client, "Forget me soon.")
    assert not again.forebay["cached"]


@pytest.mark.parametrize("own", [{"egress": "allow"}, {"idempotency_key": "cached-1"}])
def test_a_job_that_may_leave_or_has_an_idempotency_key_is_put_on_the_ledger(
    openai_client, http, own
):
    text = f"Cached but {next(iter(own))}."
    ask(openai_client, text)
    ask(openai_client, text)
    job_id = ask(openai_client, text, **own).forebay["job_id"]
    assert http.get(f"/jobs/{job_id}").json()["status"]["receipt"]["id"] == job_id


def test_no_other_tenant_gets_the_answer(openai_client, served, keys):
    first = ask(openai_client, "Mine alone.")
    theirs = openai_client.with_options(api_key=keys.create("other")[1])
    again = ask(theirs, "Mine alone.")
    assert not again.forebay["cached"]
    assert again.forebay["job_id"] != first.forebay["job_id"]


def test_workers_that_disagree_about_their_model_give_no_cached_answers(openai_client, served):
    ask(openai_client, "Which model?")
    with redis_py.Redis.from_url(served.url) as client:
        served_models = ServedModels(client)
        served_models.announce(["local.default"], {"generate": ("other", "1")}, 4.0)
        assert served_models.of("local.default") == {}
        time.sleep(2.2)  # until the gateway asks again
        again = ask(openai_client, "Which model?")
    assert again.forebay["cached"]  # the local worker recalled it
    assert "egress_denied" in again.forebay["reasons"]
