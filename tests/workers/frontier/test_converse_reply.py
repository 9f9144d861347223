"""Reading a response of Converse: whatever a field holds, the call has a defined end."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.routing.limits.prices import Prices, Usage
from forebay.workers.frontier.bedrock.converse_reply import (
    BODY,
    MAX_TEXT_CHARS,
    MAX_TOKENS,
    keep_body,
    read_reply,
    whole_body,
)
from forebay.workers.frontier.provider import BilledFailure, Malformed, OutcomeUnknown, Refused
from forebay.workers.frontier.responses.response_json import read_object

MODEL = "anthropic.claude-haiku-5-5"
GOOD = {
    "output": {"message": {"role": "assistant", "content": [{"text": "We met."}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 10, "outputTokens": 3, "totalTokens": 13},
    "serviceTier": {"type": "default"},
}
FIELDS = [
    ("output",), ("output", "message"), ("output", "message", "content"), ("stopReason",),
    ("usage",), ("usage", "inputTokens"), ("usage", "outputTokens"),
    ("usage", "cacheReadInputTokens"), ("usage", "cacheWriteInputTokens"),
    ("usage", "cacheDetails"), ("serviceTier",), ("serviceTier", "type"),
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["text", "type", "inputTokens", "ttl", "content"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


def read(body):
    response = {BODY: json.dumps(body).encode()}
    return read_reply(response, whole_body(response), (MODEL, "default"), 0.1)


def spoiled(path, value):
    body = json.loads(json.dumps(GOOD))
    holder = body
    for name in path[:-1]:
        holder = holder[name]
    holder[path[-1]] = value
    return body


def test_a_good_response_is_read():
    reply = read(GOOD)
    assert (reply.text, reply.finish, reply.tier) == ("We met.", "stop", "default")
    assert reply.usage == Usage(input=10, output=3)


@given(st.sampled_from(FIELDS), JSON)
def test_a_response_with_any_value_in_any_field_is_a_reply_or_a_billed_failure(path, value):
    try:
        reply = read(spoiled(path, value))
    except BilledFailure as error:
        usage, tier = error.usage, error.tier
    else:
        usage, tier = reply.usage, reply.tier
        assert isinstance(reply.text.encode(), bytes)  # no half of a surrogate pair
        assert reply.finish in {"stop", "length"}
    if usage is not None:
        counts = (usage.input, usage.output, usage.cache_read, usage.cache_write_5m)
        assert all(type(count) is int and 0 <= count <= MAX_TOKENS for count in counts)
        assert Prices.load().cost(MODEL, usage) >= 0
    assert tier in {None, "default", "flex", "priority", "reserved"}


@given(JSON)
def test_a_body_of_any_shape_has_a_defined_end(body):
    with pytest.raises((OutcomeUnknown, BilledFailure)):
        read(body)


@pytest.mark.parametrize("count", [-1, 12.0, True, "12", None, 10**15, 10**400, float("nan"), []])
def test_a_count_that_is_no_possible_number_of_tokens_makes_the_usage_unusable(count):
    assert read(spoiled(("usage", "outputTokens"), count)).usage is None


@pytest.mark.parametrize(
    "counts",
    [
        {"inputTokens": 0}, {"outputTokens": 0}, {"totalTokens": -5}, {"totalTokens": "13"},
        {"cacheDetails": [{"ttl": "5m", "inputTokens": -3}]},
        {"cacheDetails": [{"ttl": "5m", "inputTokens": 3}]},
    ],
)  # fmt: skip
def test_counts_that_cannot_be_of_this_answer_make_the_usage_unusable(counts):
    assert read(spoiled(("usage",), GOOD["usage"] | counts)).usage is None


def test_counts_of_the_cache_that_contradict_each_other_make_the_usage_unusable():
    cache = {"cacheWriteInputTokens": 5, "cacheDetails": [{"ttl": "1h", "inputTokens": 50}]}
    assert read(spoiled(("usage",), GOOD["usage"] | cache)).usage is None


def test_counts_of_the_cache_are_optional_and_told_apart_by_their_time_to_live():
    details = [{"ttl": "1h", "inputTokens": 50}, {"ttl": "5m", "inputTokens": 10}]
    cache = {"cacheWriteInputTokens": 60, "cacheReadInputTokens": None, "cacheDetails": details}
    usage = read(spoiled(("usage",), GOOD["usage"] | cache)).usage
    assert (usage.cache_write_1h, usage.cache_write_5m, usage.cache_read) == (50, 10, 0)


@pytest.mark.parametrize("tier", [None, {}, {"type": "default"}])
def test_a_tier_that_is_not_reported_is_the_default_tier(tier):
    assert read(spoiled(("serviceTier",), tier)).tier == "default"


@pytest.mark.parametrize("tier", ["gold", "batch", None, 7, ["flex"], {"type": "flex"}])
def test_a_tier_that_is_not_known_is_none(tier):
    assert read(spoiled(("serviceTier", "type"), tier)).tier is None


@pytest.mark.parametrize("reason", [None, 7, ["end_turn"], {}])
def test_an_answer_without_a_stop_reason_may_be_cut_short(reason):
    assert read(spoiled(("stopReason",), reason)).finish == "length"


def test_an_unknown_stop_reason_and_a_refusal_are_billed_with_their_usage():
    for reason, error_class in (("tired", Malformed), ("content_filtered", Refused)):
        with pytest.raises(error_class) as caught:
            read(spoiled(("stopReason",), reason))
        assert caught.value.usage == Usage(input=10, output=3)


def test_blocks_without_text_are_passed_over_and_half_a_surrogate_pair_is_replaced():
    blocks = [{"reasoningContent": {}}, {"text": "We \ud83d"}, {"text": "met"}]
    assert read(spoiled(("output", "message", "content"), blocks)).text == "We ?met"


def test_a_text_longer_than_any_answer_is_not_used():
    with pytest.raises(Malformed):
        read(spoiled(("output", "message", "content"), [{"text": "x" * (MAX_TEXT_CHARS + 1)}]))


def test_the_body_of_an_error_response_is_left_to_boto3():
    kept, response = {}, {"status_code": 400, "body": b"{}"}
    keep_body(response, kept)
    assert (kept, response["body"]) == ({}, b"{}")


@pytest.mark.parametrize("name", ["usage", "stopReason", "output"])
def test_of_a_field_that_comes_twice_neither_value_is_believed(name):
    """Who reads the bill elsewhere may see the other value."""
    whole = json.dumps(GOOD)
    twice = f"{whole[:-1]}, {json.dumps(name)}: {json.dumps(GOOD[name])}}}".encode()
    assert read_object(twice) == {**GOOD, name: None}
