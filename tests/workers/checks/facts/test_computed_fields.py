"""A computed number is accepted only in a field that may ask for one."""

import pytest

from forebay.routing.receipts import Extraction
from labelled_answers import Labelled

NUMBER = {"type": "number"}


def is_grounded(text, fields, data):
    schema = {"type": "object", "properties": fields}
    request = {"kind": "extract", "text": text, "schema": schema}
    return "grounded" not in Labelled("en", request, Extraction(data=data)).failed()


PRICES = "Chair 120 EUR, desk 340 EUR, lamp 45 EUR."
NAMES = ("chair", "desk", "lamp")


@pytest.mark.parametrize("wrong", [("chair", 460), ("desk", 385), ("lamp", 505), ("lamp", 75)])
def test_a_field_that_the_text_states_holds_no_computed_number(wrong):
    right = {"chair": 120, "desk": 340, "lamp": 45}
    fields = dict.fromkeys(NAMES, NUMBER)
    assert is_grounded(PRICES, fields, right)
    assert not is_grounded(PRICES, fields, right | dict([wrong]))


@pytest.mark.parametrize(
    ("name", "field"),
    [("total", NUMBER), ("gesamtsumme", NUMBER), ("合計", NUMBER), ("everything", NUMBER),
     ("x", {**NUMBER, "description": "what all of it costs, the grand total"})],
)  # fmt: skip
def test_a_total_may_be_computed(name, field):
    fields = dict.fromkeys(NAMES, NUMBER) | {name: field}
    assert is_grounded(PRICES, fields, {"chair": 120, "desk": 340, "lamp": 45, name: 505})


def test_a_field_beside_others_that_asks_for_no_total_holds_none_of_some_numbers():
    sizes = {"small": NUMBER, "medium": NUMBER, "large": NUMBER}
    text = "Sizes in stock: S (4), M (11), L (0)."
    assert is_grounded(text, sizes, {"small": 4, "medium": 11, "large": 0})
    assert not is_grounded(text, sizes, {"small": 7, "medium": 11, "large": 0})


@pytest.mark.parametrize("value", [460, 505, 220])
def test_the_only_number_of_an_answer_may_be_computed(value):
    assert is_grounded(PRICES, {"n": NUMBER}, {"n": value})


def test_what_is_left_and_the_price_of_several_things_are_computed():
    money = "Net salary 2,850, rent 960, savings 400."
    assert is_grounded(money, {"left": NUMBER}, {"left": 1490})
    tickets = "Tickets: adult $18, child $9. We are 2 adults and 3 children."
    assert is_grounded(tickets, {"total_price": NUMBER}, {"total_price": 63})
    assert is_grounded("Half of the 480 seats", {"taken": NUMBER}, {"taken": 240})
