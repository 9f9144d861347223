"""The conformance suite of frontier providers: it runs over every entry of the table.

A new provider needs an entry in `FIXTURES`: its own client library against a mock of its service.
"""

import signal
import subprocess
import sys
import threading
import time
import traceback
from contextlib import contextmanager

import pytest

from forebay.routing.errors import Misconfigured, Throttled, Unavailable
from forebay.routing.limits.prices import Prices
from forebay.routing.policy.tables import Endpoint
from forebay.workers.engines.engine import JsonSchema, Prompt, Turn
from forebay.workers.frontier import provider as provider_module
from forebay.workers.frontier.provider import (
    PROVIDERS,
    BilledFailure,
    OutcomeUnknown,
    Refused,
    Reply,
    billed,
    open_provider,
)
from forebay.workers.frontier.settings import BedrockSettings
from mock_bedrock.server import MockBedrock
from mock_chat import KEY, MockChat

pytestmark = pytest.mark.slow

CANARY = "canary-4711"
FAILURES = ("throttled", "unavailable", "refused", "cut off", "no response", "silent")
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


class Bedrock:
    """Bedrock as the suite sees it: real boto3 over HTTP to the mock."""

    model = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
    prices = Prices.load()
    faults = {  # noqa: RUF012 - never changed
        "throttled": "throttle:7",
        "unavailable": "unavailable",
        "refused": "refuse",
        "cut off": "half",
        "no response": "drop",
        "silent": "hang:9",
        "slow": "slow:1",
    }

    def __init__(self, mock):
        self._mock = mock

    def open(self, timeout_s=5):
        settings = BedrockSettings(bedrock_endpoint=self._mock.url, bedrock_timeout_s=timeout_s)
        return open_provider(settings)

    def next_call_is(self, *names):
        self._mock.faults.plan([self.faults[name] for name in names])

    def call_ids(self):
        """The ids of the calls that reached the service, in order."""
        return [call.call_id for call in self._mock.calls]


class Chat:
    """An endpoint of chat completions as the suite sees it: real HTTP to a mock of the protocol."""

    model = "mine/some-model"
    prices = Prices.model_validate(
        {
            "date": "2026-11-21",
            "geography": {"region": 1},
            "models": {
                model: {
                    "bands": [{"above": 0, "input": 1, "output": 4}],
                    "can": {"structured_output": True},
                }
            },
        }
    )
    faults = {  # noqa: RUF012 - never changed
        "throttled": "throttled:7",
        "unavailable": "unavailable",
        "refused": "refused",
        "cut off": "cut off",
        "no response": "no response",
        "silent": "silent:9",
        "slow": "slow:1",
    }

    def __init__(self, mock):
        self._mock = mock

    def open(self, timeout_s=5):
        endpoint = Endpoint(url=self._mock.url, key_env="CHAT_KEY")
        return open_provider(BedrockSettings(bedrock_timeout_s=timeout_s), ("mine", endpoint))

    def next_call_is(self, *names):
        self._mock.plan([self.faults[name] for name in names])

    def call_ids(self):
        return [headers["x-client-request-id"] for _, headers in self._mock.calls]


@contextmanager
def chat(monkeypatch):
    monkeypatch.setenv("CHAT_KEY", KEY)
    with MockChat() as mock:
        yield Chat(mock)


@contextmanager
def bedrock(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mock")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mock")
    with MockBedrock() as mock:
        yield Bedrock(mock)


FIXTURES = {"bedrock": bedrock, "openai": chat}


@pytest.fixture(params=sorted(PROVIDERS))
def service(request, monkeypatch):
    with FIXTURES[request.param](monkeypatch) as service:
        yield service


def prompt(text=f"Summarize: {CANARY}", **fields):
    messages = (Turn(role="system", content="Be brief."), Turn(role="user", content=text))
    return Prompt(id="p", messages=messages, **({"max_tokens": 100} | fields))


def failure(provider, model, error_class):
    with pytest.raises(error_class) as caught:
        provider.call(prompt(), model, call_id="c1")
    return caught.value


def test_every_provider_of_the_table_has_a_fixture():
    assert FIXTURES.keys() == PROVIDERS.keys()


def test_a_call_returns_the_whole_answer(service):
    reply = service.open().call(prompt(), service.model, call_id="c1")
    assert isinstance(reply, Reply)
    assert reply.text
    assert (reply.finish, reply.model) == ("stop", service.model)
    assert 0 < reply.latency_s < 5
    assert service.call_ids() == ["c1"]


def test_an_answer_of_a_mock_is_marked(service):
    assert service.open().call(prompt(), service.model, call_id="c1").stand_in


def test_the_repr_of_a_reply_does_not_show_its_text(service):
    reply = service.open().call(prompt(), service.model, call_id="c1")
    assert reply.text not in repr(reply)


def test_an_answer_that_reached_its_limit_says_so(service):
    reply = service.open().call(prompt(max_tokens=1), service.model, call_id="c1")
    assert (reply.finish, reply.usage.output) == ("length", 1)


@pytest.mark.parametrize("text", ["short", "äöü€ " * 500, "{}" * 5_000])
def test_usage_and_cost_stay_within_the_bounds(service, text):
    provider, question = service.open(), prompt(text, constraint=JsonSchema(schema_=SCHEMA))
    usage = provider.call(question, service.model, call_id="c1").usage
    tokens_in, tokens_out = provider.bounds(question, service.model)
    assert 0 < usage.prompt <= tokens_in
    assert 0 < usage.output <= tokens_out
    prices = service.prices
    worst_case = prices.worst_case(service.model, tokens_in, tokens_out)
    assert 0 < prices.cost(service.model, usage) <= worst_case


def test_a_throttled_call_says_how_long_to_wait_and_is_not_billed(service):
    service.next_call_is("throttled")
    error = failure(service.open(), service.model, Throttled)
    assert error.retry_after == 7
    assert billed(error) == "no"


def test_a_call_that_an_unavailable_service_rejects_is_not_billed(service):
    service.next_call_is("unavailable")
    error = failure(service.open(), service.model, Unavailable)
    assert not isinstance(error, OutcomeUnknown)
    assert billed(error) == "no"


@pytest.mark.parametrize("fault", ["cut off", "no response", "silent"])
def test_a_call_without_a_whole_response_has_an_unknown_outcome(service, fault):
    service.next_call_is(fault)
    error = failure(service.open(timeout_s=0.3), service.model, OutcomeUnknown)
    assert billed(error) == "unknown"


def test_a_refusal_is_billed_and_says_for_how_many_tokens(service):
    service.next_call_is("refused")
    error = failure(service.open(), service.model, BilledFailure)
    assert isinstance(error, Refused)
    assert billed(error) == "yes"
    assert error.usage.prompt > 0


@pytest.mark.parametrize("fault", FAILURES)
def test_a_failed_call_is_not_repeated_and_its_error_quotes_nothing(service, fault):
    service.next_call_is(fault)
    provider = service.open(timeout_s=0.3)
    error = failure(provider, service.model, Exception)
    assert service.call_ids() == ["c1"]
    assert error.__context__ is None
    assert error.__cause__ is None
    assert CANARY not in "".join(traceback.format_exception(error)) + repr(error)
    assert provider.call(prompt(), service.model, call_id="c2").text


class Cancelled(BaseException):
    pass


def test_a_call_that_is_cancelled_ends_at_once_and_leaves_the_provider_usable(service):
    def cancel(*_):
        raise Cancelled

    def cancel_while_it_waits():
        while not service.call_ids():
            time.sleep(0.01)
        time.sleep(0.2)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    service.next_call_is("silent")
    provider, began = service.open(timeout_s=30), time.monotonic()
    watcher = threading.Thread(target=cancel_while_it_waits)
    before = signal.signal(signal.SIGUSR1, cancel)
    try:
        watcher.start()
        with pytest.raises(Cancelled):
            provider.call(prompt(), service.model, call_id="c1")
    finally:
        watcher.join()
        signal.signal(signal.SIGUSR1, before)
    assert time.monotonic() - began < 8  # the service would hang up after 9 s
    assert provider.call(prompt(), service.model, call_id="c2").text
    assert service.call_ids() == ["c1", "c2"]


def test_a_call_does_not_wait_for_another_threads_call(service):
    service.next_call_is("slow")
    provider = service.open()
    slow = threading.Thread(
        target=provider.call, args=(prompt(), service.model), kwargs={"call_id": "c1"}
    )
    slow.start()
    while service.call_ids() != ["c1"]:
        time.sleep(0.01)
    assert provider.call(prompt(), service.model, call_id="c2").text
    assert slow.is_alive()
    slow.join()


def test_a_streamed_answer_comes_in_pieces_and_ends_like_any_other(service):
    heard, provider = [], service.open()
    reply = provider.call(prompt(), service.model, call_id="c1", on_text=heard.append)
    assert len(heard) > 1
    assert "".join(heard) == reply.text
    whole = provider.call(prompt(), service.model, call_id="c2")
    assert (reply.usage, reply.finish, reply.tier) == (whole.usage, whole.finish, whole.tier)


def test_a_stream_that_is_cut_has_an_unknown_outcome(service):
    service.next_call_is("cut off")
    provider, heard = service.open(timeout_s=0.5), []
    with pytest.raises(OutcomeUnknown) as caught:
        provider.call(prompt(), service.model, call_id="c1", on_text=heard.append)
    assert billed(caught.value) == "unknown"
    assert provider.call(prompt(), service.model, call_id="c2").text


def test_a_stream_that_is_refused_is_billed(service):
    service.next_call_is("refused")
    with pytest.raises(Refused) as caught:
        service.open().call(prompt(), service.model, call_id="c1", on_text=lambda _: None)
    assert caught.value.usage.prompt > 0


def test_the_egress_log_can_say_where_calls_go(service):
    assert service.open().region


def test_the_term_is_longer_than_the_time_out(service):
    assert service.open(timeout_s=5).term_s > 5


def test_a_provider_is_opened_without_a_call(service):
    service.open()
    assert service.call_ids() == []


def test_an_unknown_provider_is_named_as_a_wrong_setting():
    with pytest.raises(Misconfigured, match=r"must be one of: .*bedrock") as caught:
        open_provider(BedrockSettings(frontier_provider="nobody"))
    assert caught.value.field == "FOREBAY_FRONTIER_PROVIDER"


def test_a_provider_without_its_client_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(provider_module.PROVIDERS, "other", "no_such_client:Other")
    with pytest.raises(Misconfigured, match=r"needs no_such_client, .* the extra `other`"):
        open_provider(BedrockSettings(frontier_provider="other"))


def test_client_libraries_are_imported_only_with_the_provider_that_needs_them():
    program = (
        "import sys, forebay.workers.frontier.calling.calls, forebay.workers.frontier.auditor\n"
        "print([name for name in ('boto3', 'botocore', 'urllib3') if name in sys.modules])"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
