"""An endpoint of chat completions: what is sent, how a call can end, and the lane that uses it."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from forebay.routing.books.call_book import CallBook
from forebay.routing.books.egress_log import EgressLog
from forebay.routing.errors import (
    InvalidJob,
    LastingError,
    Misconfigured,
    ModelRefused,
    Throttled,
    TooLong,
    Unavailable,
)
from forebay.routing.limits.spillway import Spillway
from forebay.routing.policy.capabilities import Capabilities
from forebay.routing.policy.policy_file import Policy
from forebay.routing.policy.tables import Endpoint
from forebay.workers.bedrock import Bedrock
from forebay.workers.engines.engine import JsonSchema, Prompt, Turn
from forebay.workers.frontier.openai.chat_completions import ChatCompletions
from forebay.workers.frontier.provider import ModelFault, OutcomeUnknown, billed, open_provider
from forebay.workers.frontier.settings import BedrockSettings
from forebay.workers.frontier.terms import Terms
from forebay.workers.runtime.outcomes import Retry
from mock_chat import ERRORS, KEY, MockChat

MODEL = "mine/some-model"
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
PRICES = f"""
date = 2026-11-21
[geography]
region = 1.0
[models."{MODEL}"]
bands = [{{ above = 0, input = 1.0, output = 4.0, cache_read = 0.1 }}]
[models."other/some-model"]
bands = [{{ above = 0, input = 1.0, output = 4.0 }}]
[models."anthropic.claude-haiku-5-5"]
bands = [{{ above = 0, input = 1.0, output = 4.0 }}]
"""


@pytest.fixture
def chat(monkeypatch):
    monkeypatch.setenv("MINE_KEY", KEY)
    with MockChat() as mock:
        yield mock


@pytest.fixture
def provider(chat):
    return opened(chat)


def opened(chat, **fields):
    endpoint = Endpoint(**{"url": chat.url, "key_env": "MINE_KEY", **fields})
    return ChatCompletions(BedrockSettings(bedrock_timeout_s=5), "mine", endpoint)


def ask(provider, can=None, *, tier="default", effort="", on_text=None, **fields):
    turns = (Turn(role="system", content="Be brief."), Turn(role="user", content="hello there"))
    prompt = Prompt(id="p", messages=turns, **{"max_tokens": 50, **fields})
    terms = Terms(can=can, tier=tier, effort=effort)
    return provider.call(prompt, MODEL, call_id="c1", terms=terms, on_text=on_text)


def test_a_request_has_what_the_model_takes_and_no_more(chat, provider):
    ask(provider, temperature=0.5, top_p=0.5, stop=("end", " "), tier="flex", effort="low")
    body, headers = chat.calls[-1]
    assert body == {
        "model": "some-model",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hello there"},
        ],
        "max_completion_tokens": 50, "temperature": 0.5, "top_p": 0.5, "stop": ["end"],
        "service_tier": "flex",
    }  # fmt: skip
    assert headers["x-client-request-id"] == "c1"


def test_a_model_that_reasons_gets_more_tokens_an_effort_and_no_temperature(chat, provider):
    can = Capabilities(
        temperature=False, top_p=False, reasons=True, efforts=("low",), max_output=99
    )
    ask(provider, can, effort="low", temperature=0.5)
    body, _ = chat.calls[-1]
    assert "temperature" not in body
    assert (body["reasoning_effort"], body["max_completion_tokens"]) == ("low", 99)


def test_a_schema_is_enforced_if_the_model_can(chat, provider):
    constraint = JsonSchema(schema_=SCHEMA)
    reply = ask(provider, Capabilities(structured_output=True), constraint=constraint)
    assert (reply.enforced, reply.text) == (True, '{"n": 1}')
    assert not ask(provider, Capabilities(), constraint=constraint).enforced


def test_an_older_service_gets_the_older_name_of_the_limit(chat):
    ask(opened(chat, max_tokens_field="max_tokens"))
    assert chat.calls[-1][0]["max_tokens"] == 50


MEANING = {
    "throttled": Throttled, "no credit": ModelFault, "unavailable": Unavailable,
    "internal": Unavailable, "gateway": OutcomeUnknown, "wrong key": ModelFault,
    "forbidden": ModelFault, "no model": ModelFault, "too long": TooLong, "schema": InvalidJob,
    "invalid": InvalidJob, "filtered": ModelRefused, "redirect": ModelFault,
    "teapot": LastingError, "unpaid": ModelFault, "flagged": ModelRefused,
}  # fmt: skip


def test_every_error_of_the_mock_is_in_the_table():
    assert MEANING.keys() == ERRORS.keys()


@pytest.mark.parametrize("fault", MEANING)
@pytest.mark.parametrize("streams", [False, True])
def test_an_error_response_means_what_the_table_says(chat, provider, fault, streams):
    chat.plan([fault])
    with pytest.raises(MEANING[fault]) as caught:
        ask(provider, on_text=(lambda _: None) if streams else None)
    assert type(caught.value) is MEANING[fault]
    assert billed(caught.value) == ("unknown" if fault == "gateway" else "no")
    assert (caught.value.field == "schema") == (fault == "schema")
    assert len(chat.calls) == 1  # not repeated, and no redirect followed


def test_a_key_that_is_missing_is_named_and_nothing_is_sent(chat, monkeypatch):
    monkeypatch.delenv("MINE_KEY")
    with pytest.raises(ModelFault, match="MINE_KEY: holds no key"):
        ask(opened(chat))
    assert chat.calls == []


def test_a_host_that_takes_no_connection_is_unavailable_and_free():
    endpoint = Endpoint(url="http://127.0.0.1:9/v1")
    provider = ChatCompletions(BedrockSettings(), "mine", endpoint)
    with pytest.raises(Unavailable) as caught:
        ask(provider)
    assert billed(caught.value) == "no"


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -1, "completion_tokens": 1}, {"prompt_tokens": 1},
        {"prompt_tokens": True, "completion_tokens": 1}, "none",
        {"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 2}},
        {"prompt_tokens": 1, "completion_tokens": None}, {"prompt_tokens": None}, "null",
        {"prompt_tokens": 1.5, "completion_tokens": 1},
        {"prompt_tokens": "1", "completion_tokens": 1},
        {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 9},
        {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": -1},
        {"prompt_tokens": 10**12, "completion_tokens": 1},
    ],
)  # fmt: skip
@pytest.mark.parametrize("streams", [False, True])
def test_counts_that_cannot_be_are_no_usage(chat, provider, usage, streams):
    chat.usage = usage
    assert ask(provider, on_text=(lambda _: None) if streams else None).usage is None


def test_tokens_of_reasoning_that_only_the_total_has_are_billed(chat, provider):
    chat.usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 40}
    usage = ask(provider).usage
    assert (usage.prompt, usage.output) == (10, 30)


def test_a_stream_without_its_last_line_is_whole_once_its_usage_is_known(chat, provider):
    chat.plan(["no done", None])
    streamed, whole = (ask(provider, on_text=lambda _: None) for _ in range(2))
    assert (streamed.text, streamed.usage) == (whole.text, whole.usage)


@pytest.mark.parametrize("on_text", [None, lambda _text: None])
def test_an_answer_that_comes_too_slowly_is_given_up(provider, monkeypatch, on_text):
    monkeypatch.setattr(BedrockSettings, "bedrock_call_s", -1.0)
    with pytest.raises(OutcomeUnknown, match="takes too long"):
        ask(provider, on_text=on_text)


@pytest.mark.parametrize("ahead_s", [None, 60])
def test_a_wait_may_be_asked_for_by_a_date(chat, provider, ahead_s):
    wait = "60" if ahead_s is None else formatdate(time.time() + ahead_s, usegmt=True)
    chat.plan([f"throttled:{wait}"])
    with pytest.raises(Throttled) as caught:
        ask(provider)
    assert caught.value.retry_after == pytest.approx(60, abs=10)


def test_cached_tokens_are_counted_apart(chat, provider):
    details = {"cached_tokens": 30}
    chat.usage = {
        "prompt_tokens": 40, "completion_tokens": 2, "prompt_tokens_details": details,
    }  # fmt: skip
    usage = ask(provider).usage
    assert (usage.input, usage.cache_read, usage.output, usage.prompt) == (10, 30, 2, 40)


@pytest.mark.parametrize(
    "url", ["http://models.example.com/v1", "ftp://x", "https://", "https://a/v1?key=1", "no url"]
)
def test_an_endpoint_whose_url_will_not_do_names_the_key(tmp_path, url):
    file = tmp_path / "policy.toml"
    file.write_text(f'[endpoints.mine]\nurl = "{url}"\n')
    with pytest.raises(Misconfigured, match=r"\[endpoints\.mine\] url"):
        Policy.load(file)


def test_no_setting_makes_an_endpoint_of_the_whole_fleet():
    with pytest.raises(Misconfigured, match="must be one of: bedrock"):
        open_provider(BedrockSettings(frontier_provider="openai"))


# --- in the lane --------------------------------------------------------------------------------


@pytest.fixture
def worker(lane, tmp_path, mock):
    prices = tmp_path / "prices.toml"
    prices.write_text(PRICES)
    (tmp_path / "policy.toml").write_text("[fleet]\n")
    return Bedrock(lane.ledger, BedrockSettings(bedrock_endpoint=mock.url, prices_file=prices))


def rules(chat, more=""):
    endpoint = f'[endpoints.mine]\nurl = "{chat.url}"\nkey_env = "MINE_KEY"\n'
    return f'{endpoint}[tenants.acme]\nmodels = ["{MODEL}"]\n{more}'


def test_a_tenant_whose_policy_names_the_endpoint_is_answered_there(lane, chat, mock, worker):
    answer = lane.work(rules(chat), tenant="acme", worker=worker).answer
    assert (answer.lane, answer.model, answer.stand_in) == ("bedrock", MODEL, True)
    [call] = CallBook(lane.ledger.redis).calls()
    assert (call.settled_nusd, call.region) == (answer.cost_nusd, f"endpoint mine at {chat.host}")
    assert answer.cost_nusd == (answer.tokens_in * 1 + answer.tokens_out * 4) * 1_000
    [entry] = EgressLog(lane.ledger.redis).read()
    assert (entry.leaving.model, entry.leaving.region) == (MODEL, f"endpoint mine at {chat.host}")
    assert len(mock.calls) == 0
    assert (entry.leaving.elsewhere, call.elsewhere) == (True, True)


def test_each_tenant_is_called_with_its_own_key(lane, chat, worker, monkeypatch):
    monkeypatch.setenv("OTHER_KEY", "sk-other")
    chat.keys.add("sk-other")
    second = f'[endpoints.other]\nurl = "{chat.url}"\nkey_env = "OTHER_KEY"\n'
    second += '[tenants.other]\nmodels = ["other/some-model"]\n'
    for tenant in ("acme", "other"):
        lane.work(rules(chat, second), tenant=tenant, worker=worker)
    keys = [headers["authorization"] for _, headers in chat.calls]
    assert keys == [f"Bearer {KEY}", "Bearer sk-other"]


@pytest.mark.parametrize("usage", ["null", {"prompt_tokens": -5, "completion_tokens": -5}])
def test_an_answer_whose_usage_cannot_be_priced_costs_its_worst_case(lane, chat, worker, usage):
    chat.usage = usage
    answer = lane.work(rules(chat), tenant="acme", worker=worker).answer
    [call] = CallBook(lane.ledger.redis).calls()
    assert call.estimated
    assert call.settled_nusd == call.reserved_nusd == answer.cost_nusd > 0


def test_other_tenants_never_reach_it(lane, chat, mock, worker):
    lane.work(rules(chat), tenant="other", worker=worker)
    assert (len(chat.calls), len(mock.calls)) == (0, 1)


def test_its_budget_holds_for_it_too(lane, chat, worker):
    more = f'[fleet.models."{MODEL}"]\ndaily_budget_usd = 0.0\n'
    lane.work(rules(chat, more), tenant="acme", worker=worker)
    assert chat.calls == []


def test_a_fault_of_it_shuts_its_model_alone(lane, chat, redis, worker):
    chat.plan(["wrong key"])
    assert isinstance(lane.work(rules(chat), tenant="acme", worker=worker), Retry)
    assert [fault.scope for fault in Spillway(redis).faults()] == [MODEL]
    assert lane.work(rules(chat), tenant="other", worker=worker).answer.status == "done"


def test_it_answers_while_the_account_of_bedrock_is_shut(lane, chat, mock, redis, worker):
    mock.faults.plan(["expired"] * 9)
    both = rules(chat).replace(
        f'models = ["{MODEL}"]', f'models = ["anthropic.claude-haiku-5-5", "{MODEL}"]'
    )
    for _ in range(2):
        assert lane.work(both, tenant="acme", worker=worker).answer.model == MODEL
    assert len(mock.calls) == 1
    assert [fault.scope for fault in Spillway(redis).faults()] == ["*"]


def test_prefixes_keep_it_out_unless_they_name_it(chat):
    endpoint = {"mine": Endpoint(url=chat.url)}
    tenant = {"models": ("mine/eu.some-model",)}
    for prefixes, allowed in ((("eu.",), 0), (("mine/",), 1), ((), 1)):
        fields = {"endpoints": endpoint, "defaults": tenant, "fleet": {"model_prefixes": prefixes}}
        policy = Policy.model_validate(fields)
        assert len(policy.models("acme")) == allowed
