"""Egress: nothing but the job itself gives leave, and a job goes to Bedrock only if it can."""

from hypothesis import given

from forebay.routing.lanes import BEDROCK
from forebay.routing.policy.egress import egress
from forebay.routing.policy.frontier_state import FrontierState
from forebay.routing.policy.lane import choose_lane
from forebay.routing.policy.policy_file import Fleet, Policy, TenantPolicy
from forebay.routing.reasons import Reason
from policy_cases import HARD, OPEN, job, jobs, policies


@given(jobs(), policies)
def test_no_policy_gives_leave_that_the_job_does_not_give(each, rules):
    assert each.egress == "allow" or egress(each, rules) == "deny"


def test_without_money_no_job_goes_to_bedrock():
    def reason(cap, left):
        state = FrontierState(budget_left_nusd=left)
        return choose_lane(job(max_cost_usd=cap), HARD, Policy(), state).reason

    assert reason(0.002, 1) == Reason.VERDICT_HARD
    assert reason(1e-10, 1) == Reason.JOB_COST_CAP
    assert reason(0.002, 0) == reason(0.002, -5) == Reason.BUDGET_SPENT


def test_the_fleets_prefixes_limit_the_models_that_a_tenant_names():
    rules = Policy(
        defaults=TenantPolicy(models=("us.anthropic.a", "eu.anthropic.a")),
        fleet=Fleet(model_prefixes=("eu.",)),
    )
    assert choose_lane(job(), HARD, rules, OPEN).queue == BEDROCK
    assert rules.models_for(job()) == ("eu.anthropic.a",)
    no_match = rules.model_copy(update={"fleet": Fleet(model_prefixes=("jp.",))})
    assert choose_lane(job(), HARD, no_match, OPEN).reason == Reason.NO_MODEL_ALLOWED
