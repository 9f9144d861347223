"""Prices: costs are exact, rounded up, and never above the worst case that is reserved."""

from datetime import date
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.routing.errors import Misconfigured, NoPrice
from forebay.routing.limits.prices import Prices, Usage

PRICES = Prices.load()
HAIKU = "global.anthropic.claude-haiku-5-5"
tokens = st.integers(0, 2_000_000)


def test_the_packaged_list_is_dated():
    assert PRICES.date == date(2026, 11, 21)


@pytest.mark.parametrize(
    ("model", "usage", "nusd"),
    [
        (HAIKU, Usage(1_000_000 // 10, 1_000_000), 10_000_000 + 500_000_000),
        (HAIKU, Usage(100_001, 0), 50_000_500),
        ("anthropic.claude-opus-5-5", Usage(1_000_000, 1_000_000), 26_400_000_000),
        ("us.anthropic.claude-haiku-5-5", Usage(1, 0), 110),
        ("us.anthropic.claude-haiku-5-5", Usage(0, 0, cache_read=1), 11),
        ("us.anthropic.claude-haiku-5-5", Usage(0, 0, cache_write_5m=1), 138),
        ("global.anthropic.claude-sonnet-5-5", Usage(0, 0, cache_write_1h=1), 4_000),
        ("amazon.nova-micro-v1:0", Usage(1, 1), 175),
        ("us.amazon.nova-pro-v1:0", Usage(1_000_000, 0), 800_000_000),
        ("amazon.titan-embed-text-v2:0", Usage(7, 0), 140),
    ],
)
def test_a_call_is_priced_by_the_list(model, usage, nusd):
    assert PRICES.cost(model, usage) == nusd


def test_the_arn_of_a_system_profile_costs_the_same_as_the_profile():
    arn = f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.{HAIKU[7:]}"
    assert PRICES.cost(arn, Usage(10, 10)) == PRICES.cost(f"us.{HAIKU[7:]}", Usage(10, 10))


def test_a_tier_multiplies_the_price_and_an_unknown_tier_raises():
    pro = "amazon.nova-pro-v1:0"
    assert PRICES.cost(pro, Usage(1_000, 0), tier="flex") == 400_000
    assert PRICES.cost(pro, Usage(1_000, 0), tier="priority") == 1_400_000
    assert PRICES.cost(HAIKU, Usage(1_000, 0), tier="batch") == 50_000
    with pytest.raises(Misconfigured, match="in tier flex; add it to the model's tiers"):
        PRICES.cost(HAIKU, Usage(1_000, 0), tier="flex")


@pytest.mark.parametrize("model", ["mystery.model-1", "us.mystery.model-1", "", "global."])
def test_an_unknown_model_raises_an_error_that_names_it(model):
    with pytest.raises(
        Misconfigured, match=r"no price is listed for .*; add it to the prices file"
    ) as error:
        PRICES.cost(model, Usage(1, 1))
    assert model in str(error.value)
    with pytest.raises(Misconfigured, match="no price is listed"):
        PRICES.worst_case(model, 1, 1)


@given(
    st.sampled_from(sorted(PRICES.models)),
    st.sampled_from(["", "us.", "global.", "apac."]),
    tokens, tokens, tokens, st.integers(0, 100_000), st.integers(0, 100_000),
)  # fmt: skip
def test_no_call_costs_more_than_its_worst_case(model, profile, fresh, cached, spare, out, unused):
    usage = Usage(input=fresh, cache_read=cached, output=out)
    at_worst = PRICES.worst_case(profile + model, usage.prompt + spare, out + unused)
    assert 0 <= PRICES.cost(profile + model, usage) <= at_worst


def test_the_worst_case_is_the_most_expensive_band_that_the_prompt_may_fall_into(tmp_path):
    assert PRICES.worst_case(HAIKU, 100_000, 1) == PRICES.cost(HAIKU, Usage(100_000, 1))
    assert PRICES.worst_case(HAIKU, 100_001, 1) == PRICES.cost(HAIKU, Usage(100_001, 1))
    file = tmp_path / "prices.toml"
    cheaper = "output = 2 }, { above = 10, input = 0, output = 1 }"
    file.write_text(GOOD.replace("output = 2 }", cheaper))
    assert Prices.load(file).worst_case("m", 11, 100) == 211_000


@given(tokens, tokens)
def test_a_cost_is_a_whole_number_rounded_up(fresh, out):
    band = 1 if fresh > 100_000 else 0
    listed = PRICES.models[HAIKU[7:]].bands[band]
    exact = (fresh * Fraction(listed.input) + out * Fraction(listed.output)) * 1_000
    exact *= Fraction(11, 10)
    cost = PRICES.cost(f"eu.{HAIKU[7:]}", Usage(fresh, out))
    assert type(cost) is int
    assert cost == ceil(exact)


GOOD = """
date = 2026-01-01
geography = { region = 1 }
models.m.bands = [{ above = 0, input = 1, output = 2 }]
"""


def test_a_file_replaces_the_packaged_list(tmp_path):
    file = tmp_path / "prices.toml"
    file.write_text(GOOD)
    assert Prices.load(file).cost("m", Usage(1, 1)) == 3_000


BANDS = "must begin with a band above = 0, and ascend"


@pytest.mark.parametrize(
    ("good", "bad", "key", "fix"),
    [
        (
            "input = 1",
            "input = -1",
            "[models.m] bands[0].input",
            "must be greater than or equal to 0",
        ),
        ("input = 1", "input = nan", "[models.m] bands[0].input", "must be a finite number"),
        ("input = 1", "input = 'low'", "[models.m] bands[0].input", "must be a valid decimal"),
        (", output = 2", "", "[models.m] bands[0].output", "is missing, add it"),
        (
            "output = 2",
            "output = 2, outptu = 3",
            "[models.m] bands[0].outptu",
            "is not a known key, did you mean output?",
        ),
        ("above = 0", "above = 5", "[models.m] bands", BANDS),
        ("[{ above = 0, input = 1, output = 2 }]", "[]", "[models.m] bands", BANDS),
        (
            "output = 2",
            "output = 2, cache_read = 3",
            "[models.m] bands[0]",
            "must list a cache_read of at most input",
        ),
        ("region = 1", "us = 1", "geography", "must have a factor for `region`"),
        ("region = 1", "region = 0", "[geography] region", "must be greater than 0"),
        ("date = 2026-01-01", "", "date", "is missing, add it"),
        ("2026-01-01", '"someday"', "date", "must be a valid date or datetime, input is too short"),
        (
            "models.m.bands",
            "models.m.can = { efforts = ['huge'] }\nmodels.m.bands",
            "[models.m.can] efforts[0]",
            "must be 'low', 'medium', 'high', 'xhigh' or 'max'",
        ),
        (
            "models.m.bands",
            "models.m.tiers = { turbo = 1 }\nmodels.m.bands",
            "[models.m.tiers] turbo",
            "must be 'default', 'flex', 'priority', 'reserved' or 'batch'",
        ),
    ],
)
def test_an_error_names_the_file_the_key_and_the_fix(tmp_path, good, bad, key, fix):
    file = tmp_path / "prices.toml"
    file.write_text(GOOD.replace(good, bad, 1))
    with pytest.raises(Misconfigured) as error:
        Prices.load(file)
    assert str(error.value) == f"{key}: {fix} (in {file})"
    assert error.value.field == key


@pytest.mark.parametrize(
    "text", [b"models = [", b"\xff", b"", b"date = 1e9999999999999999999", None]
)
def test_a_file_that_cannot_be_parsed_raises_an_error_that_names_it(tmp_path, text):
    file = tmp_path / "prices.toml"
    if text is not None:
        file.write_bytes(text)
    with pytest.raises(Misconfigured) as error:
        Prices.load(file)
    assert str(file) in str(error.value)


@pytest.mark.parametrize("prefix", ["mars", "us-east"])
def test_a_geography_that_is_not_listed_has_no_price_and_the_error_says_where_to_list_it(prefix):
    model = f"{prefix}.anthropic.claude-haiku-4-5-20251001-v1:0"
    assert not PRICES.has(model)
    with pytest.raises(NoPrice, match=rf"add `{prefix}` to \[geography\]"):
        PRICES.cost(model, Usage(10, 10))
    with pytest.raises(NoPrice, match=rf"add `{prefix}` to \[geography\]"):
        PRICES.worst_case(model, 1, 1)


def test_the_version_changes_with_a_price_and_not_with_a_comment(tmp_path):
    file = tmp_path / "prices.toml"
    versions = []
    for text in (GOOD, f"# a note\n{GOOD}", GOOD.replace("output = 2", "output = 3")):
        file.write_text(text)
        versions.append(Prices.load(file).version)
    assert versions[0] == versions[1] != versions[2]
    assert all(version.startswith("2026-01-01-") for version in versions)


@pytest.mark.parametrize("model", ["gpt-9", "us.gpt-9", "arn:aws:bedrock:x:1:y/a1b2c3", "region"])
def test_a_model_without_a_price_is_told_apart(model):
    assert not PRICES.has(model)
    with pytest.raises(NoPrice):
        PRICES.worst_case(model, 1, 1)


def test_a_price_file_that_cannot_be_read_is_named_with_its_variable(tmp_path):
    with pytest.raises(Misconfigured) as caught:
        Prices.load(tmp_path / "nope.toml")
    assert caught.value.field == "FOREBAY_PRICES_FILE"
    assert "nope.toml cannot be read" in caught.value.message
