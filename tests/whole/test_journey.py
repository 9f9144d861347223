"""A journey through Forebay, as a tutorial: every part real, every part a process of its own.

One fleet runs for all of it: Redis, a router, a sweeper, a bedrock worker that calls the local
stand-in over HTTP, and three local workers: the pool `default` runs a small language model on the
CPU, the pool `echo` an engine that does what a text tells it to, and the pool `pair` both of them.
Who reads this page from top to bottom has seen what Forebay does for a producer.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager
from pathlib import Path

import pytest

from forebay.producers.client import Client
from forebay.routing.errors import BadAnswer, Cancelled, EgressDenied
from forebay.routing.jobs import (
    Answer,
    Classify,
    Embed,
    Extract,
    Generate,
    Label,
    Message,
    Summarize,
)
from forebay.routing.settings import Settings
from local.fleet import Fleet
from patience import until

LEASE_S = 2.0
MODEL = "SmolLM2-135M-Instruct.Q4_1"  # packaged
POLICY = """
[tenants.echo.pools]
classify = "echo"
extract = "echo"
summarize = "echo"
generate = "echo"

[tenants.echo.thresholds]
extract = 0.0

[tenants.echo.second_opinion]
extract = 1.0

[tenants.pair.pools]
extract = "pair"

[tenants.pair.second_opinion]
extract = 1.0
deny_too = true

[tenants.acme.thresholds]
generate = 0.65

[tenants.lonely.pools]
generate = "empty"

[tenants.secretive]
force_deny = true
"""

TICKET = (
    "Hello, I was charged twice for my subscription this month. The second payment of 12.50 EUR "
    "came out of my account on Tuesday. Please refund it. My customer number is C-20417."
)
LABELS = [
    Label(name="billing", description="An invoice, a charge, a payment or a refund."),
    Label(name="delivery", description="A parcel is late, lost or damaged."),
    Label(name="access", description="The customer cannot log in."),
]
NUMBER = {
    "type": "object",
    "properties": {"customer": {"type": "string", "maxLength": 12}},
    "required": ["customer"],
    "additionalProperties": False,
}
HARD = (
    "Prove that the sum of the first n odd numbers is n squared, by induction and by a second, "
    "geometric argument; then derive a formula for the sum of the first n cubes, explain step by "
    "step why it holds, and write a Python function with tests that verifies both for n up to 500."
)

RAMBLING = (
    "[[echo: say=We met at noon and talked for hours about this and that and nothing much else.]] "
    "We met at noon."
)

GUESSED = (
    '[[echo: say={"customer": "C-20417"}]] [[echo: warm={"customer": "C-20471"}]] My number is'
)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("journey")
    policy = folder / "policy.toml"
    policy.write_text(POLICY)
    env = {"FOREBAY_POLICY_FILE": str(policy), "FOREBAY_LEASE_S": str(LEASE_S)}
    with Fleet(folder, env) as fleet:
        fleet.start_redis()
        for part in ("mock_bedrock", "router", "sweeper", "bedrock"):
            fleet.start(part)
        fleet.start("local")
        fleet.start("local", FOREBAY_ENGINE="echo", FOREBAY_POOL="echo")
        pair = {"FOREBAY_ENGINE": "echo", "FOREBAY_SECOND_ENGINE": "llamacpp"}
        fleet.start("local", FOREBAY_POOL="pair", **pair)
        fleet.wait_ready()
        yield fleet


@contextmanager
def client_of(fleet: Fleet, tenant: str):
    with Client(tenant=tenant, settings=Settings(redis_url=fleet.url)) as client:
        yield client


@pytest.fixture
def forebay(fleet):
    with client_of(fleet, "acme") as client:
        yield client


@pytest.fixture
def echo(fleet):
    with client_of(fleet, "echo") as client:
        yield client


def ask(text: str, **options) -> Generate:
    return Generate(messages=[Message(role="user", content=text)], **options)


# --- 1. Five kinds of jobs, answered in the building --------------------------------------------


def test_a_ticket_gets_its_label(forebay):
    answer = forebay.run(Classify(text=TICKET, labels=LABELS), timeout=60)
    assert answer.content.label == "billing"
    assert sum(answer.content.scores.values()) == pytest.approx(1)
    assert answer.content.probability == max(answer.content.scores.values())
    assert (answer.lane, answer.egress, answer.cost_usd) == ("local", "deny", 0)
    assert answer.model
    assert answer.revision
    assert answer.reason == "egress_denied"


def test_a_schema_is_filled_from_a_text(forebay):
    answer = forebay.run(Extract(text=TICKET, schema=NUMBER), timeout=60)
    assert set(answer.content.data) == {"customer"}
    assert answer.tokens_out > 0
    assert "schema" in {check.name for check in answer.checks if check.passed}


def test_a_text_is_said_shorter(forebay):
    answer = forebay.run(Summarize(text=TICKET, max_words=25), timeout=60)
    assert answer.content.text
    assert answer.lane == "local"
    assert answer.degraded == (not all(check.passed for check in answer.checks))


def test_a_chat_is_continued_within_its_limits(forebay):
    answer = forebay.run(ask("Say hello to a new customer.", max_tokens=24), timeout=60)
    assert answer.content.text
    assert 0 < answer.tokens_out <= 24


def test_texts_become_vectors_in_which_like_is_near_like(forebay):
    texts = ["The parcel is late.", "My package has not arrived.", "I forgot my password."]
    vectors = forebay.run(Embed(texts=texts), timeout=60).content.vectors
    late, missing, password = vectors
    assert dot(late, late) == pytest.approx(1, abs=1e-3)
    assert dot(late, missing) > dot(late, password)


def dot(one, other) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


# --- 2. The ladder: what may leave goes to Bedrock when the local lane will not do ---------------


def test_a_hard_job_that_may_leave_goes_up_before_anybody_tried_it(forebay):
    answer = forebay.run(ask(HARD), egress="allow", timeout=60)
    assert (answer.lane, answer.reason) == ("bedrock", "verdict_hard")
    assert answer.stand_in
    assert answer.cost_usd > 0
    assert answer.verdict.probability < 0.65


def test_a_local_answer_that_fails_its_checks_goes_up_after_it(echo):
    request = Summarize(text=RAMBLING, max_words=5)
    answer = echo.run(request, egress="allow", timeout=60)
    assert answer.lane == "bedrock"
    assert answer.reasons[0] == "verdict_easy"
    assert any(reason.startswith("check_failed:") for reason in answer.reasons)


def test_a_job_that_two_local_answers_differ_on_goes_up(echo):
    request = Extract(text=f"{GUESSED} C-20417 or C-20471", schema=NUMBER)
    answer = echo.run(request, egress="allow", timeout=60)
    assert answer.lane == "bedrock"
    assert "second_opinion_differs" in answer.reasons


def test_where_a_worker_has_two_models_the_other_one_gives_the_second_opinion(fleet):
    request = Extract(text='[[echo: say={"customer": "nobody"}]] I am C-20417.', schema=NUMBER)
    with client_of(fleet, "pair") as client:
        answer = client.run(request, egress="deny", timeout=60)
    assert answer.model == "echo"
    second = [check for check in answer.checks if check.name == "second_opinion"]
    assert [check.note.partition(" with ")[2] for check in second] == [MODEL]


def test_it_stays_if_it_may_not_leave(echo):
    request = Extract(text=f"{GUESSED} C-20417 or C-20471", schema=NUMBER)
    answer = echo.run(request, egress="deny", timeout=60)
    assert (answer.lane, answer.degraded) == ("local", False)
    assert answer.content.data == {"customer": "C-20417"}


def test_the_same_job_stays_and_says_that_it_is_degraded_if_it_may_not_leave(echo):
    request = Summarize(text=RAMBLING, max_words=5)
    answer = echo.run(request, egress="deny", timeout=60)
    assert (answer.lane, answer.degraded, answer.cost_usd) == ("local", True, 0)
    assert answer.reason == "egress_denied"
    assert any(not check.passed for check in answer.checks)


def test_an_answer_that_is_none_fails_rather_than_pretends(echo):
    request = Extract(text="[[echo: say=no JSON at all]] C-20417", schema=NUMBER)
    with pytest.raises(BadAnswer):
        echo.run(request, egress="deny", timeout=60)


def test_a_tenants_policy_keeps_everything_in_the_building(fleet):
    with client_of(fleet, "secretive") as client:
        answer = client.run(ask(HARD, max_tokens=16), egress="allow", timeout=60)
        assert (answer.lane, answer.egress) == ("local", "deny")
        with pytest.raises(EgressDenied):
            client.run(ask("hello"), egress="allow", lane="bedrock", timeout=60)


# --- 3. What a producer may rely on --------------------------------------------------------------


def test_a_duplicate_submit_is_the_same_job(echo):
    request = ask("only once, please")
    first = echo.submit(request, idempotency_key="order-17")
    second = echo.submit(request, idempotency_key="order-17")
    assert first == second
    assert echo.result(first, timeout=30).attempts == 1


def test_an_exact_earlier_answer_is_given_again_to_jobs_that_want_it(echo):
    first = echo.run(ask("what was it again"), cache=True, timeout=30)
    second = echo.run(ask("what was it again"), cache=True, timeout=30)
    assert (first.cached, second.cached) == (False, True)
    assert second.content == first.content
    assert second.id != first.id


def test_a_job_is_cancelled_in_the_middle_of_its_generation(echo):
    job_id = echo.submit(ask("[[echo: delay=0.2]] " + "word " * 200, max_tokens=200))
    until(lambda: echo.status(job_id).state == "running" and echo.status(job_id).hop == "local")
    assert echo.cancel(job_id)
    with pytest.raises(Cancelled):
        echo.result(job_id, timeout=5)
    # The place in the batch is free again, long before the 40 s that it would have taken.
    assert echo.run(ask("next, please"), timeout=20).content.text


def test_many_jobs_at_once_are_all_answered_in_order(echo):
    answers = list(echo.map((ask(f"number {i}") for i in range(300)), timeout=60))
    assert [f"number {i}" in answer.content.text for i, answer in enumerate(answers)] == [
        True
    ] * 300


def test_a_pool_that_nobody_serves_is_reported(fleet):
    with client_of(fleet, "lonely") as client:
        job_id = client.submit(ask("is anybody there"))
        until(lambda: client.status(job_id).queue == "local.empty")
        status = client.status(job_id)
        assert not status.served
        assert (status.position, status.depth) == (0, 1)
        client.cancel(job_id)


# --- 4. Things break -----------------------------------------------------------------------------


def test_an_engine_that_crashes_fails_nobody_else_for_good(echo):
    bad = echo.submit(ask("[[echo: crash]]"))
    good = [echo.submit(ask(f"[[echo: delay=0.05]] innocent {i}")) for i in range(3)]
    assert all(isinstance(echo.result(job_id, timeout=60), Answer) for job_id in good)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the code is asserted
        echo.result(bad, timeout=60)
    assert caught.value.code == "engine_died"


def test_a_worker_killed_in_mid_job_loses_nothing_and_the_job_ends_once(fleet, echo):
    job_id = echo.submit(ask("[[echo: delay=0.5]] one two three four five six seven eight"))

    def worked():
        now = echo.status(job_id)  # one look: the router's hop runs too, and waits in between
        return (now.state, now.hop) == ("running", "local")

    until(worked)
    worker = next(proc for proc in fleet.procs if proc.name == "local2")
    fleet.kill(worker, signal.SIGKILL)
    fleet.start("local", FOREBAY_ENGINE="echo", FOREBAY_POOL="echo")
    answer = echo.result(job_id, timeout=60)
    assert answer.attempts == 2
    assert "seven" in answer.content.text
    records = echo._ledger.redis.keys(f"fb:answer:{job_id}")
    assert len(records) == 1
    assert echo.status(job_id).state == "done"


def test_after_all_of_that_no_log_holds_a_traceback(fleet):
    for log in Path(fleet.logs).glob("*.log"):
        assert "Traceback" not in log.read_text(), log.name
