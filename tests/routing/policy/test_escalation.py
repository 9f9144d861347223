"""A checked local answer is kept, escalated or degraded; no input escalates what may not leave."""

import pytest
from hypothesis import given

from forebay.routing.policy.egress import egress, may_go
from forebay.routing.policy.escalation import should_escalate, wants_second, without_answer
from forebay.routing.policy.frontier_state import FrontierState, Pace
from forebay.routing.policy.policy_file import Policy
from forebay.routing.policy.tables import MaxDoubt, SecondOpinion
from forebay.routing.reasons import MEANINGS, Reason, meaning
from policy_cases import (
    BROKE,
    CHECKED,
    DIFFERS,
    DOUBTED,
    EASY,
    FAILED,
    HARD,
    LANES,
    NO_THRESHOLD_STAYS,
    OPEN,
    PASSED,
    SHUT,
    TEXT,
    UNDONE,
    checks,
    contents,
    doubts,
    job,
    jobs,
    policies,
    policy,
    states,
)
from policy_cases import doubt as doubt_of


@given(jobs(), contents, checks, policies, states, doubts)
def test_no_input_escalates_a_job_that_may_not_leave(each, content, checked, rules, state, doubt):
    next_step = should_escalate(each, content, checked, rules, state, doubt)
    if next_step.step == "escalate":
        assert egress(each, rules) == "allow"
        assert not state.secret
        assert each.lane != "local"
        assert rules.models(each.tenant)
        assert may_go(each, rules, state)
    assert (next_step.step == "keep") == (next_step.reasons[:1] in ((), ("unsure",)))
    assert (next_step.step == "fail") <= (content is None)
    assert all(meaning(code) for code in next_step.reasons)


@pytest.mark.parametrize(("each", "content", "checked", "step", "reasons"), CHECKED)
def test_every_step_has_its_reasons(each, content, checked, step, reasons):
    next_step = should_escalate(each, content, checked, Policy(), OPEN)
    assert (next_step.step, next_step.reasons) == (step, reasons)


@pytest.mark.parametrize(("each", "content", "doubt", "state", "step", "reasons"), DOUBTED)
def test_a_doubted_answer_is_escalated_if_the_job_may_leave(
    each, content, doubt, state, step, reasons
):
    next_step = should_escalate(each, content, PASSED, Policy(), state, doubt)
    assert (next_step.step, next_step.reasons) == (step, reasons)


@pytest.mark.parametrize(
    ("doubt", "state", "threshold"),
    [
        (DIFFERS, OPEN, 0.5),
        (doubt_of(0.9), OPEN, None),
        (doubt_of(0.9), FrontierState(pace=Pace(go=True, threshold=0.7)), 0.7),
        (DIFFERS, FrontierState(pace=Pace(go=False, threshold=0.9)), 0.9),
        (DIFFERS, NO_THRESHOLD_STAYS, None),
    ],
)
def test_a_step_says_what_the_doubt_was_compared_with(doubt, state, threshold):
    next_step = should_escalate(job(), TEXT, PASSED, Policy(), state, doubt)
    assert next_step.doubt == doubt.model_copy(update={"threshold": threshold})


def test_the_doubt_that_is_too_much_is_set_by_kind():
    rules = policy(max_doubt=MaxDoubt(generate=0.9))
    assert should_escalate(job(), TEXT, PASSED, rules, OPEN, DIFFERS).step == "keep"
    assert should_escalate(job("extract"), TEXT, PASSED, rules, OPEN, DIFFERS).step == "escalate"


def test_the_limit_is_compared_with_the_bound_if_audits_show_it():
    near = doubt_of(0.4, 1.0)
    for bound, step in ((None, "keep"), (0.45, "keep"), (0.6, "escalate")):
        doubted = near.model_copy(update={"bound": bound})
        assert should_escalate(job(), TEXT, PASSED, Policy(), OPEN, doubted).step == step


def test_while_the_spillway_is_shut_an_escalation_waits_or_degrades_as_the_tenant_says():
    waits = should_escalate(job(), TEXT, FAILED, Policy(), SHUT)
    assert (waits.step, waits.reasons[-1]) == ("escalate", "spillway_wait")
    degrades = should_escalate(job(), TEXT, FAILED, policy(when_shut="degrade"), SHUT)
    assert (degrades.step, degrades.reasons[-1]) == ("degrade", "spillway_shut")


# --- the second opinion -------------------------------------------------------------------------

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


@pytest.mark.parametrize(("each", "verdict", "rules", "state", "depth", "wanted"), SECONDS)
def test_a_second_opinion_is_wanted_only_if_it_can_change_the_outcome(
    each, verdict, rules, state, depth, wanted
):
    rules = policy(second_opinion=SecondOpinion(**rules))
    assert wants_second(each, verdict, rules, state, depth=depth, prose=False) is wanted


def test_prose_gets_a_second_opinion_only_if_the_policy_says_so():
    for limit, wanted in ((0.0, False), (1.0, True)):
        rules = policy(second_opinion=SecondOpinion(prose=limit))
        assert wants_second(job(), HARD, rules, OPEN, depth=0, prose=True) is wanted


# --- jobs that the local engine cannot do --------------------------------------------------------


@pytest.mark.parametrize(("a_job", "rules", "state", "step", "reasons"), UNDONE)
def test_a_job_that_the_local_engine_cannot_do_goes_up_if_the_policy_lets_it(
    a_job, rules, state, step, reasons
):
    after = without_answer(a_job, rules, state)
    assert (after.step, after.reasons) == (step, reasons)


# --- reason codes -------------------------------------------------------------------------------


def test_every_reason_code_is_reached_and_has_a_meaning():
    reached = {case[-1].value for case in LANES}
    reached |= {code.partition(":")[0] for case in CHECKED for code in case[-1]}
    reached |= {code for case in DOUBTED for code in case[-1]}
    reached |= {code for case in UNDONE for code in case[-1]}
    # By the ledger's scripts, the router, the cache, the other workers, and by audits.
    given_elsewhere = {
        Reason.AUDIT,
        Reason.AUDIT_DROPPED,
        Reason.AT_LIMIT,
        Reason.IN_BATCH,
        Reason.IN_PARTS,
        Reason.BULK,
        Reason.CACHED,
        Reason.BEDROCK_FAILED,
        Reason.CALL_OPEN,
        Reason.EGRESS_UNWRITTEN,
        Reason.COST_ESTIMATED,
        Reason.NO_PRICE,
        Reason.ROUTED_AT_SUBMIT,
        Reason.SECOND_KEPT,
    }
    assert reached | given_elsewhere == set(MEANINGS)
    assert not reached & given_elsewhere
    assert all(MEANINGS.values())
    assert meaning("check_failed:schema") == MEANINGS["check_failed"]
    assert meaning("an_unknown_code") == ""


def test_reason_codes_can_be_joined_by_commas():
    assert not any("," in code for code in MEANINGS)
