"""Decisions: no input lets out what may not leave, and every branch has its reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.routing.errors import EgressDenied
from forebay.routing.jobs import Check, Classification, Doubt, Generation, Job, Verdict
from forebay.routing.lanes import BEDROCK, EMBED
from forebay.routing.policy.egress import egress, may_go
from forebay.routing.policy.escalation import should_escalate, wants_second
from forebay.routing.policy.frontier_state import FrontierState, Pace
from forebay.routing.policy.lane import Decision, choose_lane
from forebay.routing.policy.policy_file import (
    Fleet,
    MaxDoubt,
    MinProbability,
    Policy,
    SecondOpinion,
    TenantPolicy,
    Thresholds,
)
from forebay.routing.reasons import DEGRADING, MEANINGS, Reason, meaning

REQUESTS = {
    "classify": {"kind": "classify", "text": "the pump stopped", "labels": ["water", "power"]},
    "extract": {"kind": "extract", "text": "a bill over 7", "schema": {"type": "object"}},
    "summarize": {"kind": "summarize", "text": "a long story"},
    "generate": {"kind": "generate", "messages": [{"role": "user", "content": "hello"}]},
    "embed": {"kind": "embed", "texts": ["one", "two"]},
}
HARD = Verdict(probability=0.1, version="test")
EASY = Verdict(probability=0.9, version="test")
OPEN = FrontierState()
GOES = FrontierState(pace=Pace(go=True, threshold=0.3))
STAYS = FrontierState(pace=Pace(go=False, threshold=0.3))
FAILED = [Check(name="schema", passed=False)]
PASSED = [Check(name="schema", passed=True)]
TEXT = Generation(text="an answer")


def job(kind="generate", **fields):
    return Job(request=REQUESTS[kind], **{"egress": "allow", **fields})


def policy(**tenant):
    return Policy(tenants={"default": TenantPolicy(**tenant)})


def doubted(probability, agreement=None):
    return Doubt(probability=probability, agreement=agreement, version="test")


# --- strategies ---------------------------------------------------------------------------------


@st.composite
def jobs(draw):
    kind = draw(st.sampled_from(sorted(REQUESTS)))
    leave = draw(st.sampled_from(["allow", "deny"]))
    lanes = ["auto", "local"] + ["bedrock"] * (leave == "allow" and kind != "embed")
    cap = draw(st.none() | st.floats(0, 1_000))
    tenant = draw(st.sampled_from(["default", "payroll", "support"]))
    lane = draw(st.sampled_from(lanes))
    return job(kind, egress=leave, lane=lane, max_cost_usd=cap, tenant=tenant)


tenant_policies = st.builds(
    TenantPolicy,
    force_deny=st.booleans(),
    models=st.sampled_from([(), ("anthropic.small",), ("eu.anthropic.small", "anthropic.large")]),
    daily_budget_usd=st.floats(0, allow_nan=False),
    when_shut=st.sampled_from(["wait", "degrade"]),
    thresholds=st.builds(Thresholds, generate=st.floats(0, 1), classify=st.floats(0, 1)),
    min_probability=st.builds(MinProbability, classify=st.floats(0, 1)),
)
policies = st.builds(
    Policy,
    defaults=tenant_policies,
    tenants=st.dictionaries(st.sampled_from(["payroll", "support"]), tenant_policies),
    fleet=st.builds(Fleet, model_prefixes=st.sampled_from([(), ("eu.",)])),
)
verdicts = st.none() | st.builds(Verdict, probability=st.floats(0, 1), version=st.just("test"))
states = st.builds(
    FrontierState,
    spillway=st.sampled_from(["open", "shut"]),
    budget_left_nusd=st.none() | st.integers(-(10**12), 10**12),
    secret=st.booleans(),
    pace=st.none() | st.builds(Pace, go=st.booleans()),
)
doubts = st.none() | st.builds(
    Doubt,
    probability=st.floats(0, 1),
    agreement=st.none() | st.floats(0, 1),
    version=st.just("test"),
)
contents = st.sampled_from([None, TEXT]) | st.builds(
    Classification, label=st.just("water"), probability=st.floats(0, 1)
)
checks = st.lists(st.builds(Check, name=st.sampled_from(["schema", "cut_off"]), passed=...))


# --- contracts ----------------------------------------------------------------------------------


@given(jobs(), verdicts, policies, states)
def test_no_input_sends_a_job_to_bedrock_that_may_not_leave(one, verdict, rules, state):
    try:
        decision = choose_lane(one, verdict, rules, state)
    except EgressDenied:
        assert one.lane == "bedrock"
        return
    assert isinstance(decision.reason, Reason)
    if decision.lane == "bedrock":
        assert egress(one, rules) == "allow"
        assert not state.secret
        assert one.lane != "local"
        assert decision.queue == BEDROCK
        assert decision.model in rules.models(one.tenant)
    else:
        assert decision.queue.startswith("local.") or decision.queue == EMBED
        assert decision.model is None


@given(jobs(), contents, checks, policies, states, doubts)
def test_no_input_escalates_a_job_that_may_not_leave(one, content, checked, rules, state, doubt):
    judgement = should_escalate(one, content, checked, rules, state, doubt)
    if judgement.step == "escalate":
        assert egress(one, rules) == "allow"
        assert not state.secret
        assert one.lane != "local"
        assert rules.models(one.tenant)
        assert may_go(one, rules, state)
    assert (judgement.step == "keep") == (judgement.reasons[:1] in ((), ("unsure",)))
    assert (judgement.step == "fail") <= (content is None)
    assert all(meaning(code) for code in judgement.reasons)


@given(jobs(), policies)
def test_no_policy_gives_leave_that_the_job_does_not_give(one, rules):
    assert one.egress == "allow" or egress(one, rules) == "deny"


@given(jobs(), verdicts, policies, states)
def test_decisions_survive_the_wire(one, verdict, rules, state):
    try:
        decision = choose_lane(one, verdict, rules, state)
    except EgressDenied:
        return
    assert Decision.model_validate_json(decision.model_dump_json()) == decision


# --- every branch -------------------------------------------------------------------------------

SHUT = FrontierState(spillway="shut")
DECISIONS = [
    (job("embed"), HARD, Policy(), OPEN, "local", Reason.EMBED_IS_LOCAL),
    (job(egress="deny"), HARD, Policy(), OPEN, "local", Reason.EGRESS_DENIED),
    (job(), HARD, policy(force_deny=True), OPEN, "local", Reason.TENANT_FORCED_DENY),
    (job(), HARD, Policy(), FrontierState(secret=True), "local", Reason.SECRET_FOUND),
    (job(lane="local"), HARD, Policy(), OPEN, "local", Reason.PINNED_LOCAL),
    (job(lane="bedrock"), EASY, Policy(), OPEN, "bedrock", Reason.PINNED_BEDROCK),
    (job(), None, Policy(), OPEN, "local", Reason.NO_VERDICT),
    (job(), EASY, Policy(), OPEN, "local", Reason.VERDICT_EASY),
    (job(), HARD, Policy(), OPEN, "bedrock", Reason.VERDICT_HARD),
    (job(), EASY, Policy(), GOES, "bedrock", Reason.PACE_GOES),
    (job(), HARD, Policy(), STAYS, "local", Reason.PACE_STAYS),
    (job(), HARD, policy(models=()), GOES, "local", Reason.NO_MODEL_ALLOWED),
    (job(egress="deny"), HARD, Policy(), GOES, "local", Reason.EGRESS_DENIED),
    (job(), HARD, policy(models=()), OPEN, "local", Reason.NO_MODEL_ALLOWED),
    (job(max_cost_usd=0), HARD, Policy(), OPEN, "local", Reason.JOB_COST_CAP),
    (job(), HARD, Policy(), FrontierState(budget_left_nusd=0), "local", Reason.BUDGET_SPENT),
    (job(), HARD, policy(when_shut="degrade"), SHUT, "local", Reason.SPILLWAY_SHUT),
    (job(), HARD, Policy(), SHUT, "bedrock", Reason.SPILLWAY_WAIT),
]
UNSURE = Classification(label="water", probability=0.2)
JUDGEMENTS = [
    (job(), TEXT, PASSED, "keep", ()),
    (job(), TEXT, FAILED, "escalate", ("check_failed:schema",)),
    (job("classify"), UNSURE, PASSED, "escalate", ("low_probability",)),
    (job(), None, FAILED, "escalate", ("check_failed:schema", "no_answer")),
    (job(egress="deny"), TEXT, FAILED, "degrade", ("check_failed:schema", "egress_denied")),
    (job(egress="deny"), None, [], "fail", ("no_answer", "egress_denied")),
    (job(lane="local"), TEXT, FAILED, "degrade", ("check_failed:schema", "pinned_local")),
]


DIFFERS, AGREES = doubted(0.8, 0.0), doubted(0.1, 1.0)
ALIKE_BUT_BAD = doubted(0.6, 0.9)
BROKE = FrontierState(budget_left_nusd=0)
UP, DOWN = FrontierState(pace=Pace(go=True)), FrontierState(pace=Pace(go=False))
DOUBTS = [
    (job(), TEXT, AGREES, OPEN, "keep", ()),
    (job(), TEXT, DIFFERS, OPEN, "escalate", ("second_opinion_differs",)),
    (job(), TEXT, ALIKE_BUT_BAD, OPEN, "escalate", ("doubtful",)),
    (job(), TEXT, doubted(0.9), OPEN, "keep", ()),
    (job(), TEXT, DIFFERS, SHUT, "escalate", ("second_opinion_differs", "spillway_wait")),
    (job(), TEXT, DIFFERS, BROKE, "degrade", ("second_opinion_differs", "budget_spent")),
    (job(), TEXT, DIFFERS, DOWN, "keep", ()),
    (job(), TEXT, AGREES, UP, "escalate", ("doubtful",)),
    (job(), TEXT, doubted(0.2), UP, "escalate", ("doubtful",)),
    (job("classify"), UNSURE, doubted(0.2), DOWN, "keep", ()),
    (job("classify"), UNSURE, doubted(0.2), OPEN, "escalate", ("low_probability",)),
    (job(egress="deny"), TEXT, DIFFERS, OPEN, "keep", ("unsure", "egress_denied")),
    (job(egress="deny"), TEXT, AGREES, OPEN, "keep", ()),
    (
        job("classify", egress="deny"),
        UNSURE,
        DIFFERS,
        OPEN,
        "degrade",
        ("low_probability", "egress_denied"),
    ),
]


@pytest.mark.parametrize(("one", "content", "doubt", "state", "step", "reasons"), DOUBTS)
def test_what_is_doubted_goes_up_if_it_may(one, content, doubt, state, step, reasons):
    judgement = should_escalate(one, content, PASSED, Policy(), state, doubt)
    assert (judgement.step, judgement.reasons) == (step, reasons)


@pytest.mark.parametrize(
    ("doubt", "state", "threshold"),
    [
        (DIFFERS, OPEN, 0.5),
        (doubted(0.9), OPEN, None),
        (doubted(0.9), FrontierState(pace=Pace(go=True, threshold=0.7)), 0.7),
        (DIFFERS, FrontierState(pace=Pace(go=False, threshold=0.9)), 0.9),
        (DIFFERS, DOWN, None),
    ],
)
def test_a_judgement_says_what_the_doubt_was_held_against(doubt, state, threshold):
    judgement = should_escalate(job(), TEXT, PASSED, Policy(), state, doubt)
    assert judgement.doubt == doubt.model_copy(update={"threshold": threshold})


def test_how_much_doubt_is_too_much_is_said_by_kind():
    rules = policy(max_doubt=MaxDoubt(generate=0.9))
    assert should_escalate(job(), TEXT, PASSED, rules, OPEN, DIFFERS).step == "keep"
    assert should_escalate(job("extract"), TEXT, PASSED, rules, OPEN, DIFFERS).step == "escalate"


SECONDS = [
    (job("extract"), EASY, {}, OPEN, 0, True),
    (job("extract"), None, {}, OPEN, 0, True),
    (job("extract"), EASY, {"extract": 0.8}, OPEN, 0, False),
    (job("extract"), HARD, {"extract": 0.0}, OPEN, 0, False),
    (job("summarize"), HARD, {}, OPEN, 0, False),
    (job("embed"), HARD, {}, OPEN, 0, False),
    (job("extract"), EASY, {}, OPEN, 4.1, False),
    (job("extract"), EASY, {"stop_at_depth": 5.0}, OPEN, 4.1, True),
    (job("extract"), EASY, {}, BROKE, 0, False),
    (job("extract", egress="deny"), EASY, {}, OPEN, 0, False),
    (job("extract", egress="deny"), EASY, {"deny_too": True}, OPEN, 0, True),
    (job("extract", lane="local"), EASY, {}, OPEN, 0, False),
]


@pytest.mark.parametrize(("one", "verdict", "rules", "state", "depth", "wanted"), SECONDS)
def test_a_second_opinion_is_taken_where_something_can_come_of_it(
    one, verdict, rules, state, depth, wanted
):
    rules = policy(second_opinion=SecondOpinion(**rules))
    assert wants_second(one, verdict, rules, state, depth=depth, prose=False) is wanted


def test_prose_is_compared_where_the_policy_says_so():
    for share, wanted in ((0.0, False), (1.0, True)):
        rules = policy(second_opinion=SecondOpinion(prose=share))
        assert wants_second(job(), HARD, rules, OPEN, depth=0, prose=True) is wanted


@pytest.mark.parametrize(("one", "verdict", "rules", "state", "lane", "reason"), DECISIONS)
def test_every_decision_has_its_reason(one, verdict, rules, state, lane, reason):
    decision = choose_lane(one, verdict, rules, state)
    assert (decision.lane, decision.reason) == (lane, reason)
    assert decision.degraded == (reason in DEGRADING)


@pytest.mark.parametrize(("one", "content", "checked", "step", "reasons"), JUDGEMENTS)
def test_every_judgement_has_its_reasons(one, content, checked, step, reasons):
    judgement = should_escalate(one, content, checked, Policy(), OPEN)
    assert (judgement.step, judgement.reasons) == (step, reasons)


def test_every_reason_code_is_reached_and_says_what_it_means():
    reached = {case[-1].value for case in DECISIONS}
    reached |= {code.partition(":")[0] for case in JUDGEMENTS for code in case[-1]}
    reached |= {code for case in DOUBTS for code in case[-1]}
    # By the cache, by the bedrock worker, by the local one, and by audits.
    given_elsewhere = {
        Reason.AUDIT,
        Reason.AUDIT_DROPPED,
        Reason.CACHED,
        Reason.BEDROCK_FAILED,
        Reason.CALL_OPEN,
        Reason.SECOND_KEPT,
    }
    assert reached | given_elsewhere == set(MEANINGS)
    assert not reached & given_elsewhere
    assert all(MEANINGS.values())
    assert meaning("check_failed:schema") == MEANINGS["check_failed"]
    assert meaning("somebody_elses") == ""


def test_codes_can_be_joined_by_commas():
    assert not any("," in code for code in MEANINGS)


@pytest.mark.parametrize("denied", [{"force_deny": True}, {"models": ()}])
def test_a_pin_to_bedrock_that_the_policy_forbids_is_an_error(denied):
    with pytest.raises(EgressDenied):
        choose_lane(job(lane="bedrock"), EASY, policy(**denied), OPEN)


def test_an_escalation_while_the_spillway_is_shut_waits_or_degrades_as_the_tenant_says():
    waits = should_escalate(job(), TEXT, FAILED, Policy(), SHUT)
    assert (waits.step, waits.reasons[-1]) == ("escalate", "spillway_wait")
    takes = should_escalate(job(), TEXT, FAILED, policy(when_shut="degrade"), SHUT)
    assert (takes.step, takes.reasons[-1]) == ("degrade", "spillway_shut")


def test_without_money_nothing_goes_up():
    def reason(cap, left):
        state = FrontierState(budget_left_nusd=left)
        return choose_lane(job(max_cost_usd=cap), HARD, Policy(), state).reason

    assert reason(0.002, 1) == Reason.VERDICT_HARD
    assert reason(1e-10, 1) == Reason.JOB_COST_CAP
    assert reason(0.002, 0) == reason(0.002, -5) == Reason.BUDGET_SPENT


def test_a_decision_says_what_the_verdict_was_held_against():
    decision = choose_lane(job(), EASY, policy(thresholds=Thresholds(generate=0.95)), OPEN)
    assert (decision.lane, decision.model) == ("bedrock", "anthropic.claude-haiku-5-5")
    assert (decision.threshold, decision.probability, decision.version) == (0.95, 0.9, "test")
    paced = choose_lane(job(), EASY, Policy(), GOES)
    assert (paced.threshold, paced.score) == (0.3, EASY.score)


def test_a_job_that_goes_up_by_the_pace_waits_where_the_tenant_says_so():
    shut = FrontierState(spillway="shut", pace=GOES.pace)
    assert choose_lane(job(), EASY, Policy(), shut).reason == Reason.SPILLWAY_WAIT
    assert choose_lane(job(), EASY, policy(when_shut="degrade"), shut).degraded
    assert not choose_lane(job(), HARD, Policy(), STAYS).degraded


def test_the_threshold_itself_is_easy():
    rules = policy(thresholds=Thresholds(generate=0.5))
    verdict = Verdict(probability=0.5, version="test")
    assert choose_lane(job(), verdict, rules, OPEN).reason == Reason.VERDICT_EASY


def test_the_fleets_prefixes_hold_over_what_a_tenant_names():
    rules = Policy(
        defaults=TenantPolicy(models=("us.anthropic.a", "eu.anthropic.a")),
        fleet=Fleet(model_prefixes=("eu.",)),
    )
    assert choose_lane(job(), HARD, rules, OPEN).model == "eu.anthropic.a"
    shut_in = rules.model_copy(update={"fleet": Fleet(model_prefixes=("jp.",))})
    assert choose_lane(job(), HARD, shut_in, OPEN).reason == Reason.NO_MODEL_ALLOWED
