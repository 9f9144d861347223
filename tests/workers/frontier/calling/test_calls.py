"""Paid calls through any provider: reserved at its bounds, for its term, and booked at the cost."""

import pytest

from forebay.routing.errors import RedisUnavailable, Throttled
from forebay.routing.jobs import Generate, Job, Message, Verdict
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.prices import Prices, Usage
from forebay.routing.policy.policy_file import Policy
from forebay.routing.reasons import Reason
from forebay.routing.settings import Settings
from forebay.workers.engines.engine import Prompt, Turn
from forebay.workers.frontier import provider as provider_module
from forebay.workers.frontier.calling.assignment import Assignment
from forebay.workers.frontier.calling.calls import Calls
from forebay.workers.frontier.calling.no_answer import NoAnswer
from forebay.workers.frontier.provider import OutcomeUnknown, Provider, Refused, Reply
from forebay.workers.frontier.settings import BedrockSettings
from ledger_jobs import BELL

MODEL = "anthropic.claude-haiku-5-5"
BOUNDS = (1_000, 500)
PRICES = Prices.load()
WORST_NUSD = PRICES.worst_case(MODEL, *BOUNDS)


class Scripted(Provider):
    """A provider with an ending to give, which is not Bedrock."""

    def __init__(self, settings=None):
        self.ending = Reply("yes", Usage(input=10, output=2), "stop", MODEL, "default", False, 0.1)
        self.reserved = lambda: None
        self.seen = []

    term_s = 77.0
    region = "nowhere"

    def bounds(self, prompt, model, terms=None):
        return BOUNDS

    def call(self, prompt, model, *, call_id, terms=None, on_text=None):
        self.seen.append((prompt, model, call_id, self.reserved()))
        if isinstance(self.ending, Exception):
            raise self.ending
        return self.ending


@pytest.fixture
def provider(redis):
    provider = Scripted()
    provider.reserved = lambda: Budget(redis).spent()[1]
    return provider


@pytest.fixture
def world(redis, provider):
    """Plans and makes one call for a job; returns the call and its reply."""
    ledger = Ledger(redis, Settings(), BELL)
    job = Job(
        egress="allow",
        lane="bedrock",
        request=Generate(messages=[Message(role="user", content="hello")]),
    )
    ledger.create([job])
    verdict = Verdict(probability=0.5, version="test")
    ledger.route(ledger.claim("route"), "bedrock", "allow", "pinned", verdict)
    calls, claim = Calls(ledger, provider, lambda: PRICES, b"secret"), ledger.claim("bedrock")

    class World:
        budget = Budget(redis)

        def call(self):
            assignment = Assignment(claim, job, Policy())
            call = calls.plan(assignment, MODEL, prompt)
            return call, calls.make(call, assignment)

        def book(self, call, reply):
            calls.book(call, calls.cost(call, reply))

    return World()


def prompt(call_id):
    return Prompt(id=call_id, messages=(Turn(role="user", content="hello"),), max_tokens=10)


def test_the_worst_case_within_the_providers_bounds_is_reserved_before_the_call(world, provider):
    call, _ = world.call()
    assert provider.seen == [(prompt(call.id), MODEL, call.id, WORST_NUSD)]


def test_a_reply_is_booked_at_its_cost(world):
    call, reply = world.call()
    world.book(call, reply)
    assert world.budget.spent() == (PRICES.cost(MODEL, reply.usage), 0)


def test_a_call_of_unknown_outcome_stays_reserved_for_the_providers_term(world, provider):
    provider.ending = OutcomeUnknown("cut off")
    with pytest.raises(NoAnswer) as caught:
        world.call()
    assert (caught.value.reason, caught.value.another) == (Reason.CALL_OPEN, False)
    assert world.budget.spent() == (0, WORST_NUSD)
    with pytest.raises(NoAnswer) as again:
        world.call()
    assert 70 < again.value.error.retry_after <= 77
    assert len(provider.seen) == 1


def test_a_refusal_is_booked_at_its_usage(world, provider):
    usage = Usage(input=7, output=1)
    provider.ending = Refused("declined", usage)
    with pytest.raises(NoAnswer) as caught:
        world.call()
    assert (caught.value.reason, caught.value.another) == (Reason.BEDROCK_FAILED, True)
    assert world.budget.spent() == (PRICES.cost(MODEL, usage), 0)


def test_a_throttled_call_is_released(world, provider):
    provider.ending = Throttled("slow down")
    with pytest.raises(NoAnswer) as caught:
        world.call()
    assert (caught.value.reason, caught.value.another) == (Reason.SPILLWAY_SHUT, True)
    assert world.budget.spent() == (0, 0)


def test_a_reservation_whose_reply_is_lost_is_given_back_and_no_fault_of_the_model(
    world, provider, monkeypatch
):
    def unheard(budget, *args, **options):
        reserve(budget, *args, **options)
        raise RedisUnavailable("Redis cannot be reached")

    reserve = Budget.reserve
    with monkeypatch.context() as patch:
        patch.setattr(Budget, "reserve", unheard)
        for _ in range(4):
            with pytest.raises(RedisUnavailable):
                world.call()
    assert not provider.seen
    assert world.budget.spent() == (0, 0)
    world.book(*world.call())


def test_a_second_provider_needs_one_line_of_the_table(monkeypatch):
    monkeypatch.setattr(provider_module, "import_module", lambda name: {"mine": Mine}[name])
    monkeypatch.setitem(provider_module.PROVIDERS, "scripted", "mine:Scripted")
    settings = BedrockSettings(frontier_provider="scripted")
    assert isinstance(provider_module.open_provider(settings), Scripted)


class Mine:
    Scripted = Scripted
