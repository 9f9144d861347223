"""The final answer of a text is a number, a choice, a yes or no, or nothing."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.workers.checks.final_answer import (
    decides,
    equal,
    final_answer,
    final_number,
    folded,
    is_literal,
    numbers,
)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("18", Decimal(18)),
        ("$18.00", Decimal(18)),
        ("#### 18", Decimal(18)),
        ("\\boxed{18}", Decimal(18)),
        ("She sells 9 eggs at $2 each, so 9 * 2 = $18.", Decimal(18)),
        ("The answer is 18, not 20", Decimal(18)),
        ("B", "B"),
        ("b", "B"),
        ("The answer is (C) ten.", "C"),
        ("Yes, because it rains.", True),
        ("false", False),
        ("The parcel came late.", None),
        ("[1, 2]", None),
        ("", None),
    ],
)
def test_a_text_comes_down_to_its_number_its_choice_or_its_truth(text, answer):
    found = final_answer(text)
    assert found == answer
    assert type(found) is type(answer)


def test_many_numbers_in_a_long_text_are_no_final_answer():
    assert final_answer("We opened 3 shops in 2019 and sold tea there to 40 people.") is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("The answer is 18 of 20.", 18),
        ("The answer: 9 * 2 = 18", 18),
        ("first 9, then 18", 18),
        ("none at all", None),
    ],
)
def test_the_number_of_a_text_is_the_first_after_its_mark_or_the_last(text, number):
    assert final_number(text) == number


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("-5 and \u22125", [-5, -5]),
        ("1,000 or 1.234,50 or 1,234.50", [1000, 1234.5, 1234.5]),
        ("3/4 of .5", [0.75, 0.5]),
        ("12,50", [12.5]),
        ("none", []),
    ],
)
def test_numbers_are_read_with_signs_groups_and_fractions(text, values):
    assert [float(number) for number in numbers(text)] == values


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("18", "18.0", True),
        ("33", "33.3", False),
        ("33.33", "33.333333", True),
        ("33.33", "33.34", False),
    ],
)
def test_a_number_equals_its_rounding_to_two_or_more_places(one, other, same):
    assert equal(Decimal(one), Decimal(other)) is same
    assert equal(Decimal(other), Decimal(one)) is same


@pytest.mark.parametrize(
    ("text", "expected"), [(" [1] ", True), ("(1, 2)", True), ("{", False), ("a [1]", False)]
)
def test_a_text_in_brackets_is_a_literal(text, expected):
    assert is_literal(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"), [("[1]", True), ("18", True), ("Yes.", True), ("It came late.", False)]
)
def test_a_literal_or_a_final_answer_decides(text, expected):
    assert decides(text) is expected


def test_folding_drops_case_spaces_and_formatting():
    assert folded(' **The  "Answer"** ') == 'the "answer'


@given(st.text(max_size=200))
def test_any_text_has_a_final_answer_or_none(text):
    assert isinstance(final_answer(text), Decimal | str | bool | None)
    assert decides(text) in {True, False}
