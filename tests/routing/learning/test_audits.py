"""Audits: which answers are audited, what is asked and stored, and that no content remains."""

from __future__ import annotations

import json
from unittest.mock import Mock

import pytest
import redis as redis_py

from forebay.routing.jobs import Classify, Extract, Generate, Job, Message, Summarize
from forebay.routing.learning.audits import PURPOSE, chosen
from forebay.routing.learning.job_types import SHRINKAGE, TypeGaps, digest
from forebay.routing.limits.budget import Budget

pytest_plugins = ["waterfall"]

TOTAL = {
    "type": "object",
    "properties": {"total": {"type": ["number", "null"]}},
    "required": ["total"],
    "additionalProperties": False,
}


@pytest.fixture
def mock(lanes):
    return lanes.mock


def ask(text):
    return Generate(messages=[Message(role="user", content=text)])


def extract(total="10", text="The bill is 10."):
    return Extract(text=f'{text} [[echo: say={{"total": {total}}}]]', schema=TOTAL)


# --- what is asked and stored --------------------------------------------------------------------


@pytest.mark.parametrize(("local", "outcome"), [("10", 1.0), ("9", 0.0)])
def test_comparable_answers_are_compared(lanes, mock, local, outcome):
    mock.answer = '{"total": 10}'
    lanes.audited(extract(local, text="The bill is 10, not 9."))
    (audit,) = lanes.audits.read()
    assert (audit.outcome, audit.how, audit.kind) == (outcome, "compared", "extract")
    assert audit.gap == 1 - outcome
    assert audit.stand_in


def test_a_schema_that_only_bedrock_refuses_is_asked_for_in_words(lanes, mock):
    """Else only answers to simple schemas would be audited."""
    total = {"type": "number", "default": {"type": "object"}}
    schema = {"type": "object", "properties": {"total": total}, "required": ["total"]}
    mock.answer = '{"total": 10}'
    text = 'The bill is 10. [[echo: say={"total": 10}]]'
    lanes.audited(Extract(text=text, schema=schema))
    (audit,) = lanes.audits.read()
    assert (audit.outcome, audit.how) == (1.0, "compared")
    assert ["outputConfig" in json.loads(call.text) for call in mock.calls] == [True, False]


def test_an_audit_stores_the_agreement_and_the_doubt(lanes, mock):
    lanes.rules("[tenants.acme.second_opinion]\nextract = 1.0\n")
    mock.answer = '{"total": 10}'
    lanes.audited(extract("10", text='The bill is 10. [[echo: warm={"total": 10}]]'))
    (audit,) = lanes.audits.read()
    assert audit.agreement == 1.0
    assert 0 < audit.doubt < 0.5


@pytest.mark.parametrize(("reply", "outcome"), [("Yes.", 1.0), ("no", 0.0)])
@pytest.mark.parametrize(
    "request_",
    [
        ask("[[echo: say=a long and winding story]] tell me one"),
        Summarize(text="We met at noon. [[echo: say=We met at noon.]]", max_words=20),
    ],
    ids=lambda request_: request_.kind,
)
def test_free_text_is_judged_in_one_call(lanes, mock, request_, reply, outcome):
    mock.answer = reply
    lanes.audited(request_)
    (audit,) = lanes.audits.read()
    assert (audit.outcome, audit.how) == (outcome, "judged")
    (call,) = mock.calls
    assert "You check the work" in call.text


def test_a_chat_answer_that_comes_down_to_a_number_is_compared(lanes, mock):
    mock.answer = "The answer: 18"
    lanes.audited(ask("[[echo: say=It is 18.]] how many"))
    (audit,) = lanes.audits.read()
    assert (audit.outcome, audit.how) == (1.0, "compared")


@pytest.fixture
def trusted_mock(monkeypatch):
    """Treat answers of the mock as those of a real model."""
    monkeypatch.setattr(
        "forebay.workers.frontier.bedrock.converse_reply.STAND_IN_MARK", "unheard-of"
    )


@pytest.mark.usefixtures("trusted_mock")
def test_an_audit_stores_features_outcome_and_cost_but_no_content(lanes, mock, redis):
    mock.answer = '{"total": 10}'
    job = lanes.audited(extract(text="kanarie The bill is 10."), metadata={"kanarie": "kanarie"})
    (audit,) = lanes.audits.read("acme")
    assert audit.job == job.id
    assert audit.features["kind_extract"] == 1.0
    assert len(audit.features) > 20
    assert audit.cost_nusd == Budget(redis).spent("acme:audit")[0] > 0
    assert list(lanes.audits.read("globex")) == []
    assert b"kanarie" not in b"".join(redis.dump(key) for key in redis.keys("fb:[at][uy]*"))
    assert {key.decode() for key in redis.keys("fb:types:*")} == {"fb:types:acme"}


def test_the_shadow_leaves_no_content_and_no_dead_letter(lanes, redis):
    job = lanes.audited(ask("[[echo: say=a long story]] tell"))
    shadow = lanes.shadow(job)
    assert not redis.keys(f"fb:*:{shadow}*") or redis.keys(f"fb:*:{shadow}*") == [
        f"fb:job:{shadow}".encode()
    ]
    assert redis.pttl(f"fb:job:{shadow}") > 0
    assert not redis.exists("fb:dead:acme")
    assert lanes.reasons(job) == ("audit",)


def test_the_audited_job_is_unchanged(lanes):
    job = lanes.ask(ask("[[echo: say=a long story]] tell"))
    before = lanes.ledger.results([job.id])
    lanes.work()
    assert lanes.ledger.results([job.id]) == before
    assert before[0].cost_nusd == 0


# --- which answers are audited -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "rules"),
    [
        ({"egress": "deny"}, ""),
        ({"lane": "local"}, ""),
        ({"max_cost_usd": 0}, ""),
        ({}, "[tenants.acme]\nforce_deny = true\n"),
        ({}, "[tenants.acme]\nmodels = []\n"),
        ({}, "[tenants.acme]\ndaily_budget_usd = 0\n"),
        ({}, "[tenants.acme]\naudit = { share = 0.0 }\n"),
        ({}, "[tenants.acme]\naudit = { usd_per_day = 0.0 }\n"),
    ],
    ids=str,
)
def test_a_job_that_cannot_go_to_bedrock_is_not_audited(lanes, mock, options, rules):
    lanes.rules(rules)
    job = lanes.audited(ask("[[echo: say=a long story]] tell"), **options)
    assert lanes.shadow(job) is None
    assert not mock.calls


def test_neither_secrets_nor_vectors_nor_degraded_answers_are_audited(lanes, mock):
    from forebay.routing.jobs import Embed  # noqa: PLC0415

    key = "AKIA" + "Z7QX2M4N" * 2
    jobs = [
        lanes.audited(ask(f"[[echo: say=a long story]] my key is {key}")),
        lanes.audited(Embed(texts=["one"])),
    ]
    lanes.redis.set("fb:spillway", "throttled", px=60_000)
    jobs.append(lanes.audited(ask("[[echo: say=a long story]] tell")))
    assert [lanes.shadow(job) for job in jobs] == [None] * 3
    assert not mock.calls


def test_the_sample_is_a_share_that_no_caller_can_choose():
    ids = [Job(request=ask("x")).id for _ in range(2_000)]
    sample = [job_id for job_id in ids if chosen(job_id, 0.1, b"one secret")]
    assert 140 < len(sample) < 260
    assert sample == [job_id for job_id in ids if chosen(job_id, 0.1, b"one secret")]
    assert sample != [job_id for job_id in ids if chosen(job_id, 0.1, b"another")]
    assert not any(chosen(job_id, 0.0, b"s") for job_id in ids)
    assert all(chosen(job_id, 1.0, b"s") for job_id in ids)


# --- what ends an audit without a call -----------------------------------------------------------


@pytest.mark.parametrize(
    "spoil",
    [
        lambda lanes, job: lanes.ledger.forget(job.id),
        lambda lanes, job: lanes.redis.delete(f"fb:answer:{job.id}"),
        lambda lanes, job: lanes.redis.hset(f"fb:job:{job.id}", "egress", "deny"),
        lambda lanes, job: lanes.redis.hset(f"fb:job:{job.id}", "audited_as", "acme.other"),
        lambda lanes, job: lanes.rules("[tenants.acme]\nforce_deny = true"),
        lambda lanes, job: lanes.rules("[tenants.acme]\naudit = { usd_per_day = 0.000001 }"),
    ],
    ids=["forgotten", "answer gone", "deny by now", "not linked", "policy", "audit budget"],
)
def test_no_call_is_made_if_the_audit_is_no_longer_allowed(lanes, mock, redis, spoil):
    job = lanes.ask(ask("[[echo: say=a long story]] tell"))
    shadow = lanes.shadow(job)
    spoil(lanes, job)
    lanes.work()
    assert not mock.calls
    assert list(lanes.audits.read()) == []
    assert not redis.exists(f"fb:content:{shadow}")
    assert not redis.exists("fb:dead:acme")
    assert Budget(redis).spent() == (0, 0)


def test_a_secret_that_only_the_answer_contains_does_not_leave_either(lanes, mock):
    # The engine repeats its text without the directive.
    job = lanes.audited(ask("repeat AKIA[[echo: confidence=0.9]]IOSFODNN7EXAMPLE and no more"))
    record = lanes.ledger.record(job.id)
    (answer,) = lanes.ledger.results([job.id])
    assert (record.egress, record.reasons[0]) == ("allow", "verdict_easy")
    assert "AKIAIOSFODNN7EXAMPLE" in answer.content.text
    assert "secret_found:aws_access_key" in lanes.reasons(job)
    assert not mock.calls


def test_an_audit_that_bedrock_cannot_answer_is_dropped_and_not_retried(lanes, mock):
    mock.faults.plan(["throttle"])
    job = lanes.audited(ask("[[echo: say=a long story]] tell"))
    assert "audit_dropped" in lanes.reasons(job)
    assert len(mock.calls) == 1


def test_a_reply_that_is_neither_yes_nor_no_is_paid_for_but_not_learned_from(lanes, mock, redis):
    mock.answer = "perhaps"
    lanes.audited(ask("[[echo: say=a long story]] tell"))
    assert list(lanes.audits.read()) == []
    assert Budget(redis).spent("acme:audit")[0] > 0


def test_forgetting_a_job_forgets_its_audit_too(lanes, redis):
    job = lanes.ask(ask("[[echo: say=a long story]] tell"))
    shadow = lanes.shadow(job)
    assert redis.exists(f"fb:content:{shadow}")
    lanes.ledger.forget(job.id)
    assert not redis.keys(f"fb:*:{shadow}*")
    assert lanes.ledger.claim("route") is None


def test_an_audit_that_no_worker_makes_does_not_outlive_its_job(lanes, monkeypatch):
    brief = lanes.ledger.settings.model_copy(update={"retention_s": 60.0})
    monkeypatch.setattr(lanes.ledger, "settings", brief)
    job = lanes.ask(ask("[[echo: say=a long story]] tell"))
    shadow = lanes.ledger.record(lanes.shadow(job))
    assert 0 < shadow.deadline - shadow.created <= 60_000


def test_audits_stay_within_their_own_budget(lanes, mock, redis):
    lanes.audited(ask("[[echo: say=a long story]] tell"))
    (audit,) = lanes.audits.read()
    usd = 2 * audit.cost_nusd / 1e9
    lanes.rules(f"[tenants.acme]\naudit = {{ usd_per_day = {usd} }}")
    for _ in range(4):
        lanes.audited(ask("[[echo: say=a long story]] tell"))
    spent, reserved = Budget(redis).spent("acme:audit")
    assert spent <= 2 * audit.cost_nusd
    assert (spent, reserved) == (sum(each.cost_nusd for each in lanes.audits.read()), 0)
    assert Budget(redis).spent("acme") == (spent, 0)


# --- at least once -------------------------------------------------------------------------------


def test_if_a_worker_dies_after_the_call_there_is_no_second_call_and_no_second_record(lanes, mock):
    lanes.ask(ask("[[echo: say=a long story]] tell"))
    lanes.work("route")
    claim = lanes.ledger.claim("bedrock")
    lanes.workers["bedrock"].work(claim)  # and dies before it settles the audit
    lanes.ledger.retry(claim, "engine_died")
    lanes.work()
    assert len(mock.calls) == 1
    assert len(list(lanes.audits.read())) == 1


def test_beginning_an_audit_twice_makes_one_audit(lanes):
    job = lanes.ask(ask("[[echo: say=a long story]] tell"))
    assert lanes.audits.begin(job) == lanes.shadow(job)
    lanes.work()
    assert lanes.audits.begin(job) == lanes.shadow(job)
    assert len(list(lanes.audits.read())) == 1


# --- types ---------------------------------------------------------------------------------------


def test_a_type_stays_the_same_when_only_the_text_changes():
    key = b"a secret"

    def of(request, tenant="acme"):
        return digest(Job(tenant=tenant, request=request), key)

    weather = of(Classify(text="It rains.", labels=["wet", "dry"]))
    assert weather == of(Classify(text="It is hot.", labels=["wet", "dry"]))
    assert weather != of(Classify(text="It rains.", labels=["wet", "hot"]))
    assert weather != of(Classify(text="It rains.", labels=["wet", "dry"]), tenant="globex")
    assert of(extract("1")) == of(extract("2"))
    chat = [Message(role="system", content="Be brief."), Message(role="user", content="hello")]
    assert of(Generate(messages=chat)) != of(ask("hello"))


def test_no_type_is_learned_from_the_mock(lanes, mock, redis):
    mock.answer = '{"total": 10}'
    lanes.audited(extract("9", "The bill is 10, not 9."))
    (audit,) = lanes.audits.read()
    assert audit.stand_in
    assert not redis.keys("fb:types:*")


@pytest.mark.usefixtures("trusted_mock")
def test_a_type_with_a_larger_gap_than_predicted_goes_to_bedrock_sooner(lanes, mock):
    mock.answer = '{"total": 10}'
    router = lanes.workers["route"]
    job = Job(tenant="acme", request=extract("9", "The bill is 10, not 9."))
    before = router._verdicts.verdict(job)
    for _ in range(5):
        lanes.audited(job.request)
    after = router._verdicts.verdict(job)
    assert after.score > before.score
    assert after.probability < before.probability
    other = Job(tenant="globex", request=job.request)
    assert router._verdicts.verdict(other) == before


def test_a_mean_of_few_audits_is_shrunk_towards_zero(redis, lanes):
    job = Job(tenant="acme", request=extract())
    types = TypeGaps(redis, b"key")
    redis.hset("fb:types:acme", digest(job, b"key"), "5 5 0")
    assert types.excess(job) == 5 / (5 + SHRINKAGE)
    assert TypeGaps(redis, b"other key").excess(job) is None
    redis.hset("fb:types:acme", digest(job, b"key"), "somebody else's")
    assert TypeGaps(redis, b"key").excess(job) == 0


def test_without_redis_the_last_types_are_used(redis, monkeypatch):
    monkeypatch.setattr("forebay.routing.learning.job_types.LOOK_EVERY_S", 0)
    job, unseen = (Job(tenant=name, request=extract()) for name in ("acme", "globex"))
    redis.hset("fb:types:acme", digest(job, b"key"), "5 5 0")
    types = TypeGaps(redis, b"key")
    known = types.excess(job)
    assert known > 0
    monkeypatch.setattr(redis, "hgetall", Mock(side_effect=redis_py.ConnectionError))
    assert types.excess(job) == known
    assert types.excess(unseen) is None


@pytest.mark.usefixtures("trusted_mock")
def test_types_are_bounded_and_the_type_audited_longest_ago_is_dropped(lanes, mock, redis):
    for number in range(500):
        redis.hset("fb:types:acme", f"type{number}", f"1 0.5 {number + 1000}")
    lanes.audited(ask("[[echo: say=a long story]] tell"))
    assert redis.hlen("fb:types:acme") == 500
    assert not redis.hexists("fb:types:acme", "type0")
    assert redis.ttl("fb:types:acme") > 86_400
    assert redis.ttl("fb:audits") > 86_400


def test_an_audit_of_another_version_of_this_program_is_skipped(lanes, redis):
    redis.xadd("fb:audits", {"audit": json.dumps({"job": "what"})})
    lanes.audited(ask("[[echo: say=a long story]] tell"))
    redis.xadd("fb:audits", {"other": "x"})
    assert len(list(lanes.audits.read())) == 1
    assert PURPOSE == "audit"
