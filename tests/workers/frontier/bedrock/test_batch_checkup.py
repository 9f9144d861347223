"""Doctor says how batches on Bedrock stand, and what keeps a model out of them."""

import pytest

from forebay.routing.bedrock_batches.batches import BedrockBatches
from forebay.routing.bedrock_batches.groups import WaitingGroups
from forebay.routing.limits.prices import Prices
from forebay.routing.policy.policy_file import Policy
from forebay.workers.frontier.bedrock.batch_checkup import state, without_way
from forebay.workers.frontier.settings import BedrockSettings

HAIKU = "anthropic.claude-haiku-5-5"


def policy(*models):
    table = {"bucket": "abc", "role_arn": "arn:aws:iam::1:role/r", "models": list(models)}
    return Policy.model_validate({"batch": table})


def test_a_listed_model_of_the_policy_is_in_order():
    assert list(without_way(policy(HAIKU), Prices.packaged(), BedrockSettings())) == []


def test_what_keeps_a_model_out_is_named():
    unpriced = Prices.packaged().model_copy(deep=True)
    unpriced.models[HAIKU].tiers.clear()
    findings = list(without_way(policy(HAIKU, "other"), unpriced, BedrockSettings()))
    assert [found.state for found in findings] == ["warn", "warn"]
    assert "no price of batches" in findings[0].seen
    assert "other, which no tenant may call" in findings[1].seen


@pytest.mark.parametrize("both", [False, True])
def test_an_endpoint_alone_means_no_batches(both):
    other = {"bedrock_control_endpoint": "http://a", "bedrock_s3_endpoint": "http://b"}
    settings = BedrockSettings(bedrock_endpoint="http://mock", **(other if both else {}))
    findings = list(without_way(policy(HAIKU), Prices.packaged(), settings))
    assert len(findings) == int(not both)
    assert settings.takes_batches == both


def test_the_state_is_told(redis):
    (found,) = state(redis)
    assert (found.state, found.seen) == (
        "ok", "0 open, the oldest for 0 min; 0 jobs wait for one",
    )  # fmt: skip
    BedrockBatches(redis).board("b1", "acme m", {"turnaround_ms": "1"}, most=1, hold_s=1)
    redis.hset("fb:bedrock:batch:b1", "at", "1")
    WaitingGroups(redis).rest("m", 600, "S3 refuses it")
    late, rest = state(redis)
    assert (late.state, rest.state) == ("warn", "warn")
    assert late.seen.startswith("1 open")
    assert "m for 10 min: S3 refuses it" in rest.seen
