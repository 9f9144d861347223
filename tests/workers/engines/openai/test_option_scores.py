"""Scores of options from one answer whose alternatives are those that the constraint leaves."""

import math

import pytest

from forebay.workers.engines.openai.option_scores import ScoredToken, option_scores


def token(chosen, **others):
    probabilities = {key.replace("_", " "): value for key, value in others.items()}
    top = [(key.encode(), math.log(value)) for key, value in probabilities.items()]
    return ScoredToken(chosen.encode(), math.log(probabilities[chosen]), top)


def quote(probability=1.0):
    return ScoredToken(b'"', math.log(probability), [(b'"', math.log(probability))])


def probabilities(options, tokens):
    scores = option_scores(options, tokens)
    assert list(scores) == list(options)
    return {option: math.exp(score) for option, score in scores.items()}


def test_an_option_has_the_probability_of_the_tokens_that_lead_to_it():
    tokens = [quote(), token("red", red=0.7, blue=0.3), quote()]
    assert probabilities(("red", "blue"), tokens) == pytest.approx({"red": 0.7, "blue": 0.3})


def test_an_option_that_begins_another_is_told_from_it_by_its_end():
    back = ScoredToken(b'"', math.log(0.25), [(b'"', math.log(0.25)), (b" back", math.log(0.75))])
    tokens = [quote(), token("pay", pay=0.8, refund=0.2), back]
    assert probabilities(("pay", "pay back", "refund"), tokens) == pytest.approx(
        {"pay": 0.2, "pay back": 0.6, "refund": 0.2}
    )


def test_options_that_leave_by_the_same_token_share_its_probability():
    tokens = [quote(), token("yes", yes=0.4, no=0.6), quote()]
    assert probabilities(("yes", "no", "nobody"), tokens) == pytest.approx(
        {"yes": 0.4, "no": 0.3, "nobody": 0.3}
    )


def test_tokens_of_several_lengths_that_begin_an_option_add_up():
    tokens = [quote(), token("a", a=0.5, b=0.2, bc=0.3), quote()]
    assert probabilities(("a", "bcd"), tokens) == pytest.approx({"a": 0.5, "bcd": 0.5})


def test_an_option_outside_of_the_alternatives_gets_the_least_of_them():
    tokens = [quote(), token("a", a=0.9, b=0.1), quote()]
    found = probabilities(("a", "b", "z"), tokens)
    assert found["z"] == pytest.approx(found["b"])
    assert sum(found.values()) == pytest.approx(1)


def test_an_option_of_half_characters_is_followed_byte_by_byte():
    first, second = "ü".encode()[:1], "ü".encode()[1:]
    start = ScoredToken(first, math.log(0.9), [(first, math.log(0.9)), (b"o", math.log(0.1))])
    tokens = [quote(), start, ScoredToken(second, 0.0, [(second, 0.0)]), quote()]
    assert probabilities(("ü", "o"), tokens) == pytest.approx({"ü": 0.9, "o": 0.1})
