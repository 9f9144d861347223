"""How a call is made: tiers, effort, ids, the prompt cache and streams, and what it may cost."""

from __future__ import annotations

import json

import pytest

from forebay.routing.books.call_book import CallBook
from forebay.routing.jobs import Classify, Generate, Message
from forebay.routing.limits.prices import Prices, Usage
from forebay.routing.questions.labels import Label
from forebay.routing.store.encryption import PLAIN
from forebay.routing.store.text_stream import read_piece, stream_key
from forebay.workers.runtime.outcomes import Retry

pytestmark = pytest.mark.slow

HAIKU, SONNET, OSS = (
    "anthropic.claude-haiku-5-5",
    "anthropic.claude-sonnet-5-5",
    "openai.gpt-oss-20b-1:0",
)
LABELS = [
    Label(name=f"label {i}", description="what it is for, in many words " * 3) for i in range(60)
]
ALWAYS = f'[defaults]\nmodels = ["{SONNET}"]\n'


def body(mock):
    return json.loads(mock.calls[-1].text)


def models(model, rest=""):
    return f'[defaults]\nmodels = ["{model}"]\n{rest}'


def test_the_ids_of_call_job_and_tenant_go_along_and_nothing_else(lane, mock):
    lane.work(metadata={"customer": "secret"})
    [call] = CallBook(lane.ledger.redis).calls()
    assert body(mock)["requestMetadata"] == {
        "forebay-call": call.id, "forebay-job": lane.claim.id, "forebay-tenant": "default",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("model", "priority", "tier"),
    [(OSS, "bulk", "flex"), (OSS, "interactive", None), (HAIKU, "bulk", None)],
)
def test_a_tier_is_asked_for_where_the_model_has_a_price_in_it(lane, mock, model, priority, tier):
    rules = models(model, '[defaults.service_tier]\nbulk = "flex"\n')
    answer = lane.work(rules, priority=priority).answer
    assert body(mock).get("serviceTier") == (tier and {"type": tier})
    [call] = CallBook(lane.ledger.redis).calls()
    reached = mock.calls[-1]
    usage = Usage(input=reached.tokens_in, output=reached.tokens_out)
    assert answer.cost_nusd == Prices.load().cost(model, usage, tier=tier or "default")
    assert call.reserved_nusd >= Prices.load().cost(model, usage)


def test_an_effort_is_asked_for_where_the_model_knows_it(lane, mock):
    for model, effort, sent in ((HAIKU, "low", "low"), (HAIKU, "max", None), (OSS, "low", None)):
        lane.work(models(model, f'effort = "{effort}"\n'))
        assert body(mock).get("outputConfig", {}).get("effort") == sent


def test_a_long_system_prompt_is_cached_from_its_second_use_and_paid_for_exactly(lane, mock):
    worker, usages = lane.worker(), []
    for text in ("one", "two", "three"):
        request = Classify(text=f"label 1 {text}", labels=LABELS)
        answer = lane.work(ALWAYS, request=request, worker=worker).answer
        call = mock.calls[-1]
        usages.append((call.cache_written > 0, call.cache_read > 0))
        cached = call.cache_read + call.cache_written
        usage = Usage(call.tokens_in - cached, call.tokens_out, call.cache_read, call.cache_written)
        assert answer.cost_nusd == Prices.load().cost(SONNET, usage)
        assert answer.tokens_in == call.tokens_in
    assert usages == [(False, False), (True, False), (False, True)]


@pytest.mark.parametrize("model", [HAIKU, OSS, "amazon.nova-lite-v1:0"])
def test_a_prompt_that_is_too_short_or_whose_model_has_no_cache_is_not_cached(lane, mock, model):
    worker = lane.worker()
    for text in ("one", "two"):
        request = Classify(text=f"label 1 {text}", labels=LABELS[:12])
        lane.work(models(model), request=request, worker=worker)
        assert all("cachePoint" not in block for block in body(mock)["system"])


def test_a_call_that_writes_to_the_cache_reserves_the_dearer_price(lane):
    prices = Prices.load()
    plain, caching = (
        prices.worst_case(SONNET, 1_000, 10, caches=caches) for caches in (False, True)
    )
    assert caching == prices.cost(SONNET, Usage(cache_write_5m=1_000, output=10)) > plain


@pytest.mark.parametrize(
    "model", [name for name, listed in Prices.load().models.items() if "embed" not in name]
)
def test_no_model_of_the_price_list_is_sent_what_it_rejects(lane, mock, model):
    listed = Prices.load().models[model]
    assert listed.can is not None
    rules = models(model, 'effort = "high"\n[defaults.service_tier]\ninteractive = "flex"\n')
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    turns = [Message(role="system", content="Be brief. " * 900), Message(role="user", content="hi")]
    request = Generate(messages=turns, temperature=1.5, top_p=0.5, max_tokens=16_000, schema=schema)
    worker = lane.worker()
    for _ in range(2):
        lane.work(rules, request=request, worker=worker)
        assert mock.calls[-1].status == 200


def pieces(redis, job_id):
    entries = redis.xrange(stream_key(job_id))
    return [read_piece(fields, PLAIN) for _, fields in entries]


def test_a_job_that_streams_has_its_text_written_while_it_comes(lane, mock, redis):
    worker = lane.worker()
    answer = lane.work(stream=True, worker=worker).answer
    worker.close()
    assert mock.calls[-1].operation == "converse-stream"
    assert "".join(piece.text for piece in pieces(redis, lane.claim.id)) == answer.content.text
    assert len({piece.attempt for piece in pieces(redis, lane.claim.id)}) == 1


def test_a_stream_that_is_cut_stays_reserved_and_nobody_pays_twice(lane, mock):
    mock.faults.plan(["half"])
    outcome = lane.work(stream=True)
    assert isinstance(outcome, Retry)
    settled, reserved = lane.budget.spent()
    assert (settled, reserved > 0) == (0, True)
    assert isinstance(lane.again(), Retry)
    assert len(mock.calls) == 1
