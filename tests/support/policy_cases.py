"""Jobs, policies and states for tests of the policy, and cases that reach every reason."""

from __future__ import annotations

from hypothesis import strategies as st

from forebay.routing.jobs import Check, Classification, Doubt, Generation, Job, Verdict
from forebay.routing.policy.frontier_state import FrontierState, Pace
from forebay.routing.policy.policy_file import Fleet, Policy, TenantPolicy
from forebay.routing.policy.tables import MinProbability, Thresholds
from forebay.routing.reasons import Reason

REQUESTS = {
    "classify": {"kind": "classify", "text": "the pump stopped", "labels": ["water", "power"]},
    "extract": {"kind": "extract", "text": "a bill over 7", "schema": {"type": "object"}},
    "summarize": {"kind": "summarize", "text": "a long story"},
    "generate": {"kind": "generate", "messages": [{"role": "user", "content": "hello"}]},
    "decide": {
        "kind": "decide",
        "state": {"pump": "stopped"},
        "questions": [{"type": "predicate", "name": "broken", "instructions": "Is it broken?"}],
    },
    "embed": {"kind": "embed", "texts": ["one", "two"]},
}
HARD = Verdict(probability=0.1, version="test")
EASY = Verdict(probability=0.9, version="test")
OPEN = FrontierState()
SHUT = FrontierState(spillway="shut")
BROKE = FrontierState(budget_left_nusd=0)
GOES = FrontierState(pace=Pace(go=True, threshold=0.3))
STAYS = FrontierState(pace=Pace(go=False, threshold=0.3))
NO_THRESHOLD_GOES = FrontierState(pace=Pace(go=True))
NO_THRESHOLD_STAYS = FrontierState(pace=Pace(go=False))
FAILED = [Check(name="schema", passed=False)]
UNCHECKED = [Check(name="unchecked", passed=False, note="takes too long to check")]
PASSED = [Check(name="schema", passed=True)]
TEXT = Generation(text="an answer")
UNSURE_LABEL = Classification(label="water", probability=0.2)


def job(kind="generate", **fields) -> Job:
    return Job(request=REQUESTS[kind], **{"egress": "allow", **fields})


WITH_LOGPROBS = Job(request={**REQUESTS["generate"], "logprobs": 0}, egress="allow")


def policy(**tenant) -> Policy:
    return Policy(tenants={"default": TenantPolicy(**tenant)})


def doubt(probability, agreement=None) -> Doubt:
    return Doubt(probability=probability, agreement=agreement, version="test")


DIFFERS, AGREES, AGREES_BUT_DOUBTED = doubt(0.8, 0.0), doubt(0.1, 1.0), doubt(0.6, 0.9)


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


# --- cases --------------------------------------------------------------------------------------

#: Job, verdict, policy, state; the lane and its reason.
LANES = [
    (job("embed"), HARD, Policy(), OPEN, "local", Reason.EMBED_IS_LOCAL),
    (job(egress="deny"), HARD, Policy(), OPEN, "local", Reason.EGRESS_DENIED),
    (job(), HARD, policy(force_deny=True), OPEN, "local", Reason.TENANT_FORCED_DENY),
    (job(), HARD, Policy(), FrontierState(secret=True), "local", Reason.SECRET_FOUND),
    (job(lane="local"), HARD, Policy(), OPEN, "local", Reason.PINNED_LOCAL),
    (WITH_LOGPROBS, HARD, Policy(), OPEN, "local", Reason.LOGPROBS_ARE_LOCAL),
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
    (job(), HARD, Policy(), BROKE, "local", Reason.BUDGET_SPENT),
    (job(), HARD, policy(when_shut="degrade"), SHUT, "local", Reason.SPILLWAY_SHUT),
    (job(), HARD, Policy(), SHUT, "bedrock", Reason.SPILLWAY_WAIT),
]

#: Job, content, checks; the next step and its reasons.
CHECKED = [
    (job(), TEXT, PASSED, "keep", ()),
    (job(), TEXT, FAILED, "escalate", ("check_failed:schema",)),
    (job("classify"), UNSURE_LABEL, PASSED, "escalate", ("low_probability",)),
    (job(), None, FAILED, "escalate", ("check_failed:schema", "no_answer")),
    (job(egress="deny"), TEXT, FAILED, "degrade", ("check_failed:schema", "egress_denied")),
    (job(egress="deny"), None, [], "fail", ("no_answer", "egress_denied")),
    (job(lane="local"), TEXT, FAILED, "degrade", ("check_failed:schema", "pinned_local")),
    (job(), TEXT, UNCHECKED, "escalate", ("unchecked",)),
    (job(egress="deny"), TEXT, UNCHECKED, "degrade", ("unchecked", "egress_denied")),
]

#: Job, policy, state; the next step of a job that the local engine cannot do, and its reasons.
UNDONE = [
    (job(), Policy(), OPEN, "escalate", ("local_cannot",)),
    (job(), Policy(), SHUT, "escalate", ("local_cannot", "spillway_wait")),
    (job(egress="deny"), Policy(), OPEN, "fail", ("local_cannot", "egress_denied")),
    (job(lane="local"), Policy(), OPEN, "fail", ("local_cannot", "pinned_local")),
    (job("embed"), Policy(), OPEN, "fail", ("local_cannot", "embed_is_local")),
    (job(), policy(force_deny=True), OPEN, "fail", ("local_cannot", "tenant_forced_deny")),
    (job(), policy(models=()), OPEN, "fail", ("local_cannot", "no_model_allowed")),
    (job(max_cost_usd=0), Policy(), OPEN, "fail", ("local_cannot", "job_cost_cap")),
    (job(), Policy(), BROKE, "fail", ("local_cannot", "budget_spent")),
    (job(), Policy(), FrontierState(secret=True), "fail", ("local_cannot", "secret_found")),
    (job(), policy(when_shut="degrade"), SHUT, "fail", ("local_cannot", "spillway_shut")),
]

#: Job, content, doubt, state; the next step and its reasons.
DOUBTED = [
    (job(), TEXT, AGREES, OPEN, "keep", ()),
    (job(), TEXT, DIFFERS, OPEN, "escalate", ("second_opinion_differs",)),
    (job(), TEXT, AGREES_BUT_DOUBTED, OPEN, "escalate", ("doubtful",)),
    (job(), TEXT, doubt(0.9), OPEN, "keep", ()),
    (job(), TEXT, DIFFERS, SHUT, "escalate", ("second_opinion_differs", "spillway_wait")),
    (job(), TEXT, DIFFERS, BROKE, "degrade", ("second_opinion_differs", "budget_spent")),
    (job(), TEXT, DIFFERS, NO_THRESHOLD_STAYS, "keep", ()),
    (job(), TEXT, AGREES, NO_THRESHOLD_GOES, "escalate", ("doubtful",)),
    (job(), TEXT, doubt(0.2), NO_THRESHOLD_GOES, "escalate", ("doubtful",)),
    (job("classify"), UNSURE_LABEL, doubt(0.2), NO_THRESHOLD_STAYS, "keep", ()),
    (job("classify"), UNSURE_LABEL, doubt(0.2), OPEN, "escalate", ("low_probability",)),
    (job(egress="deny"), TEXT, DIFFERS, OPEN, "keep", ("unsure", "egress_denied")),
    (job(egress="deny"), TEXT, AGREES, OPEN, "keep", ()),
    (
        job("classify", egress="deny"),
        UNSURE_LABEL,
        DIFFERS,
        OPEN,
        "degrade",
        ("low_probability", "egress_denied"),
    ),
]
