"""A tour of Forebay: read it from top to bottom, and you have seen what it does for a producer.

Everything here is real, and every part is a process of its own. The fixture `fleet` starts Redis, a
router, a sweeper, a Bedrock worker that calls the local mock of Bedrock over HTTP, and three local
workers: the pool `default` runs a small language model on the CPU, the pool `echo` an engine that
does what a text tells it to (`[[echo: ...]]`), and the pool `pair` has both of them.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from forebay import (
    Answer,
    AsyncClient,
    BadAnswer,
    BudgetExceeded,
    Cancelled,
    Classify,
    Client,
    EgressDenied,
    Embed,
    EngineDied,
    Expired,
    Extract,
    Generate,
    InvalidJob,
    Label,
    Message,
    Summarize,
)
from forebay.routing.settings import Settings
from local.fleet import Fleet
from patience import until, until_cached

pytestmark = pytest.mark.slow

LEASE_S = 5.0  # longer than a busy machine keeps the thread waiting that renews leases
PATIENCE_S = 90.0  # for an answer, on a busy machine
MODEL = "SmolLM2-135M-Instruct.Q4_1"  # packaged
#: The operator's policy: which pool answers what, and how sure a local answer must be.
POLICY = """
[tenants.acme.thresholds]
generate = 0.65

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
#: The echo engine answers with the text after `say=`: a summary that is too long.
RAMBLING = (
    "[[echo: say=We met at noon and talked for hours about this and that and nothing much else.]] "
    "We met at noon."
)
#: The echo engine gives the answer after `say=`, and the one after `warm=` as second opinion.
GUESSED = (
    '[[echo: say={"customer": "C-20417"}]] [[echo: warm={"customer": "C-20471"}]] My number is'
)


class Customer(BaseModel):
    """The schema of an extraction."""

    customer: str = Field(max_length=12)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Start a whole fleet on this machine."""
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
    """Connect as a producer does: all it needs is the address of Redis and its tenant's name."""
    with Client(tenant=tenant, settings=Settings(redis_url=fleet.url)) as client:
        yield client


@pytest.fixture
def forebay(fleet):
    """Yield a client whose jobs the language model answers."""
    with client_of(fleet, "acme") as client:
        yield client


@pytest.fixture
def echo(fleet):
    """Yield a client whose jobs the echo engine answers."""
    with client_of(fleet, "echo") as client:
        yield client


def ask(text: str, **options) -> Generate:
    return Generate(messages=[Message(role="user", content=text)], **options)


# --- 1. Five kinds of jobs, answered in the building ----------------------------------------------


def test_classify_gives_a_text_one_of_your_labels(forebay):
    """`run` submits a job and waits for its answer.

    The content is typed by kind. Around it stands the receipt: which lane and model answered, why,
    and at what cost. A job stays in the building unless you say otherwise.
    """
    answer = forebay.run(Classify(text=TICKET, labels=LABELS), timeout=PATIENCE_S)
    assert answer.content.label == "billing"
    assert sum(answer.content.scores.values()) == pytest.approx(1)
    assert answer.content.probability == max(answer.content.scores.values())
    assert (answer.lane, answer.egress, answer.cost_usd) == ("local", "deny", 0)
    assert answer.model
    assert answer.revision
    assert answer.reason == "egress_denied"


def test_extract_fills_a_json_schema_from_a_text(forebay):
    """Decoding is constrained by the schema, and checks that need no second model follow."""
    answer = forebay.run(Extract(text=TICKET, schema=NUMBER), timeout=PATIENCE_S)
    assert set(answer.content.data) == {"customer"}
    assert answer.tokens_out > 0
    assert "schema" in {check.name for check in answer.checks if check.passed}


def test_extract_fills_your_own_pydantic_model(forebay):
    """Give a model as the schema, and the data of the answer is an instance of it."""
    answer = forebay.run(Extract(text=TICKET, schema=Customer), timeout=PATIENCE_S)
    assert isinstance(answer.content.data, Customer)
    assert answer.content.data.customer


def test_summarize_shortens_a_text(forebay):
    """An answer that failed a check and could not go to Bedrock is marked as degraded."""
    answer = forebay.run(Summarize(text=TICKET, max_words=25), timeout=PATIENCE_S)
    assert answer.content.text
    assert answer.lane == "local"
    assert answer.degraded == (not all(check.passed for check in answer.checks))


def test_generate_continues_a_chat(forebay):
    """Chat messages in, text out, and never more tokens than you asked for."""
    answer = forebay.run(ask("Say hello to a new customer.", max_tokens=24), timeout=PATIENCE_S)
    assert answer.content.text
    assert 0 < answer.tokens_out <= 24


def test_embed_turns_texts_into_vectors(forebay):
    """Vectors have unit length; texts with a similar meaning have a larger dot product."""
    texts = ["The parcel is late.", "My package has not arrived.", "I forgot my password."]
    vectors = forebay.run(Embed(texts=texts), timeout=PATIENCE_S).content.vectors
    late, missing, password = vectors
    assert dot(late, late) == pytest.approx(1, abs=1e-3)
    assert dot(late, missing) > dot(late, password)


def dot(one, other) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_a_wrong_job_is_refused_before_it_is_queued(forebay):
    """Errors name the field to mend and have a stable code."""
    with pytest.raises(InvalidJob) as refused:
        forebay.submit(ask("hello"), max_cost_usd=-1)
    assert (refused.value.field, refused.value.code) == ("max_cost_usd", "invalid_job")


# --- 2. Escalation: what may leave goes to Bedrock if the local lane will not do ------------------


def test_a_hard_job_that_may_leave_goes_straight_to_bedrock(forebay):
    """`egress="allow"` lets a job leave. The router's verdict says that it is too hard to try."""
    answer = forebay.run(ask(HARD), egress="allow", timeout=PATIENCE_S)
    assert (answer.lane, answer.reason) == ("bedrock", "verdict_hard")
    assert answer.stand_in  # by the mock, not by a model
    assert answer.cost_usd > 0
    assert answer.verdict.probability < 0.65  # the threshold of this tenant's policy


def test_a_local_answer_that_fails_its_checks_is_escalated(echo):
    """The verdict was wrong: the checks find the local answer too long, so Bedrock answers."""
    request = Summarize(text=RAMBLING, max_words=5)
    answer = echo.run(request, egress="allow", timeout=PATIENCE_S)
    assert answer.lane == "bedrock"
    assert answer.reasons[0] == "verdict_easy"
    assert any(reason.startswith("check_failed:") for reason in answer.reasons)


def test_a_job_is_escalated_if_two_local_answers_differ(echo):
    """Both answers pass the checks. A second opinion, asked in other words, disagrees."""
    request = Extract(text=f"{GUESSED} C-20417 or C-20471", schema=NUMBER)
    answer = echo.run(request, egress="allow", timeout=PATIENCE_S)
    assert answer.lane == "bedrock"
    assert "second_opinion_differs" in answer.reasons


def test_a_second_model_gives_the_second_opinion_if_the_worker_has_one(fleet):
    """The pool `pair` has two engines; the check's note names the model that was asked second."""
    request = Extract(text='[[echo: say={"customer": "nobody"}]] I am C-20417.', schema=NUMBER)
    with client_of(fleet, "pair") as client:
        answer = client.run(request, egress="deny", timeout=PATIENCE_S)
    assert answer.model == "echo"
    second = [check for check in answer.checks if check.name == "second_opinion"]
    assert [check.note.partition(" with ")[2] for check in second] == [MODEL]


def test_a_job_that_may_not_leave_is_kept_although_it_is_in_doubt(echo):
    """The same job as two steps before, with `deny`: the first answer is the answer."""
    request = Extract(text=f"{GUESSED} C-20417 or C-20471", schema=NUMBER)
    answer = echo.run(request, egress="deny", timeout=PATIENCE_S)
    assert (answer.lane, answer.degraded) == ("local", False)
    assert answer.content.data == {"customer": "C-20417"}


def test_a_job_that_may_not_leave_says_that_its_answer_failed_a_check(echo):
    """A degraded answer is an answer: you decide whether it is good enough."""
    request = Summarize(text=RAMBLING, max_words=5)
    answer = echo.run(request, egress="deny", timeout=PATIENCE_S)
    assert (answer.lane, answer.degraded, answer.cost_usd) == ("local", True, 0)
    assert answer.reason == "egress_denied"
    assert any(not check.passed for check in answer.checks)


def test_a_job_without_a_usable_answer_fails(echo):
    """Without a JSON object there is no extraction, not even a degraded one."""
    request = Extract(text="[[echo: say=no JSON at all]] C-20417", schema=NUMBER)
    with pytest.raises(BadAnswer):
        echo.run(request, egress="deny", timeout=PATIENCE_S)


def test_a_tenants_policy_keeps_everything_in_the_building(fleet):
    """The operator's `force_deny` overrides the egress of the job."""
    with client_of(fleet, "secretive") as client:
        answer = client.run(ask(HARD, max_tokens=16), egress="allow", timeout=PATIENCE_S)
        assert (answer.lane, answer.egress) == ("local", "deny")
        with pytest.raises(EgressDenied):
            client.run(ask("hello"), egress="allow", lane="bedrock", timeout=PATIENCE_S)


def test_explain_says_why_a_job_went_where_it_went(echo):
    """Every decision was recorded, as codes and in words (`forebay explain` prints them)."""
    answer = echo.run(Summarize(text=RAMBLING, max_words=5), egress="allow", timeout=PATIENCE_S)
    document = echo.explain(answer.id)
    assert document["decisions"][0]["code"] == "verdict_easy"
    assert all(decision["meaning"] for decision in document["decisions"])
    assert document["made"]["lane"] == "bedrock"


# --- 3. What a producer may rely on ---------------------------------------------------------------


def test_submitting_twice_under_one_key_makes_one_job(echo):
    """`submit` returns the job's id at once, `result` waits. A submit with a key can be retried."""
    request = ask("only once, please")
    first = echo.submit(request, idempotency_key="order-17")
    second = echo.submit(request, idempotency_key="order-17")
    assert first == second
    assert echo.result(first, timeout=PATIENCE_S).attempts == 1


def test_an_earlier_answer_to_the_same_request_is_reused_if_you_allow_it(echo):
    """`cache=True` accepts the answer to an equal earlier request. Each job has its own id."""
    first = echo.run(ask("what was it again"), cache=True, timeout=PATIENCE_S)
    until_cached(echo, first)
    second = echo.run(ask("what was it again"), cache=True, timeout=PATIENCE_S)
    assert (first.cached, second.cached) == (False, True)
    assert second.content == first.content
    assert second.id != first.id


def test_many_jobs_at_once_are_answered_in_the_order_of_their_requests(echo):
    """`map` keeps hundreds of jobs in flight; the engine answers many of them in one batch."""
    answers = list(echo.map((ask(f"number {i}") for i in range(300)), timeout=PATIENCE_S))
    assert len(answers) == 300
    assert all(f"number {i}" in answer.content.text for i, answer in enumerate(answers))


async def answers_of(settings: Settings, texts: list[str]) -> list[str]:
    requests = [ask(text) for text in texts]
    async with AsyncClient(tenant="echo", settings=settings) as client:
        return [answer.content.text async for answer in client.map(requests, timeout=PATIENCE_S)]


def test_the_async_client_has_the_same_methods(fleet):
    """For services on asyncio."""
    answers = asyncio.run(answers_of(Settings(redis_url=fleet.url), ["one", "two"]))
    assert "one" in answers[0]
    assert "two" in answers[1]


def test_a_job_can_be_cancelled_while_it_is_generated(echo):
    """Its place in the batch is free for the next job at once."""
    job_id = echo.submit(ask("[[echo: delay=0.2]] " + "word " * 200, max_tokens=200))
    until(lambda: echo.status(job_id).state == "running" and echo.status(job_id).hop == "local")
    assert echo.cancel(job_id)
    with pytest.raises(Cancelled):
        echo.result(job_id, timeout=5)
    # The cancelled job would have taken 40 s.
    assert echo.run(ask("next, please"), timeout=20).content.text


def test_a_job_ends_at_its_deadline(echo):
    """A job without an answer by its deadline expires, even in the middle of its generation."""
    slow = ask("[[echo: delay=0.2]] " + "word " * 200, max_tokens=200)
    with pytest.raises(Expired):
        echo.run(slow, deadline=timedelta(seconds=1), timeout=PATIENCE_S)


def test_a_failed_job_can_be_replayed(forebay):
    """A failed job is a dead letter. Replay it when the cause of the failure has been removed."""
    with pytest.raises(BudgetExceeded):
        forebay.run(
            ask("hello"),
            egress="allow",
            lane="bedrock",
            max_cost_usd=0.000_000_001,
            timeout=PATIENCE_S,
        )
    (dead,) = forebay.dead()
    assert dead.error == "budget_exceeded"
    again = forebay.replay(dead.id, max_cost_usd=0.10)
    assert forebay.result(again, timeout=PATIENCE_S).lane == "bedrock"


def test_a_pool_without_a_worker_is_reported(fleet):
    """`status` says where a job waits, how many are before it, and whether anybody serves it."""
    with client_of(fleet, "lonely") as client:
        job_id = client.submit(ask("is anybody there"))
        until(lambda: client.status(job_id).queue == "local.empty")
        status = client.status(job_id)
        assert not status.served
        assert (status.position, status.depth) == (0, 1)
        client.cancel(job_id)


# --- 4. What happens when parts break -------------------------------------------------------------


def test_an_engine_that_crashes_fails_only_the_job_that_crashed_it(echo):
    """The jobs of the same batch are generated again; the job that keeps crashing it fails."""
    bad = echo.submit(ask("[[echo: crash]]"))
    good = [echo.submit(ask(f"[[echo: delay=0.05]] innocent {i}")) for i in range(3)]
    assert all(isinstance(echo.result(job_id, timeout=PATIENCE_S), Answer) for job_id in good)
    with pytest.raises(EngineDied):
        echo.result(bad, timeout=PATIENCE_S)


def test_a_killed_worker_loses_no_job_and_the_job_ends_once(fleet, echo):
    """The job's lease runs out, the sweeper queues it again, and another worker answers it."""
    echo.run(ask("are you there"), timeout=PATIENCE_S)  # an engine that restarts hands jobs back
    job_id = echo.submit(ask("[[echo: delay=1]] one two three four five six seven eight"))

    def is_generated():
        now = echo.status(job_id)  # one call, since the router's hop is also `running`
        return (now.state, now.hop) == ("running", "local")

    until(is_generated)
    worker = next(proc for proc in fleet.procs if proc.name == "local2")
    fleet.kill(worker, signal.SIGKILL)
    assert echo.status(job_id).state == "running"
    fleet.start("local", FOREBAY_ENGINE="echo", FOREBAY_POOL="echo")
    answer = echo.result(job_id, timeout=PATIENCE_S)
    assert answer.attempts >= 2  # more if the machine was too busy to renew a lease
    assert "seven" in answer.content.text
    records = echo._ledger.redis.keys(f"fb:answer:{job_id}")
    assert len(records) == 1
    assert echo.status(job_id).state == "done"


def test_after_all_this_no_log_has_a_traceback(fleet):
    """Workers expect failures: they log a line, which never holds content."""
    for log in Path(fleet.logs).glob("*.log"):
        assert "Traceback" not in log.read_text(), log.name
