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


@pytest.mark.parametrize(
    ("text", "name", "right", "wrong"),
    [
        ("Jan 310 kWh, Feb 295 kWh", "january", 310, 605),
        ("For 3 eggs and 2 cups", "eggs", 3, 5),
        ("Savings: 400, rent is 960", "savings", 400, 560),
        ("10 kg at 4 EUR", "pay", 40, 41),
        ("1.5 h labour at 48/h", "labour", 72, 74),
        ("Deposit of 30% on 12,000", "deposit", 3600, 3700),
        ("Rent 980, deposit three months", "deposit", 2940, 2950),
        ("41% for Hart, 38 percent for Bloom", "undecided", 21, 22),
        ("2 x 64 plus 1.5 h at 48", "bill", 200, 201),
        ("Delayed by half an hour, 3 kilos and a half", "minutes", 30, 31),
        ("Born in 1984, moved aged nine", "moved_year", 1993, 1995),
        ("Dos docenas de huevos", "huevos", 24, 26),
        ("3 kilos et demi", "poids", 3.5, 5.3),
    ],
)
def test_a_rate_a_share_and_a_number_in_words_are_computed_with(text, name, right, wrong):
    assert is_grounded(text, {name: NUMBER}, {name: right})
    assert not is_grounded(text, {name: NUMBER}, {name: wrong})


@pytest.mark.parametrize("value", [460, 505, 220])
def test_a_field_that_the_text_does_not_name_may_be_computed(value):
    assert is_grounded(PRICES, {"n": NUMBER}, {"n": value})


def test_what_is_left_and_the_price_of_several_things_are_computed():
    money = "Net salary 2,850, rent 960, savings 400."
    assert is_grounded(money, {"left": NUMBER}, {"left": 1490})
    tickets = "Tickets: adult $18, child $9. We are 2 adults and 3 children."
    assert is_grounded(tickets, {"total_price": NUMBER}, {"total_price": 63})
    assert is_grounded("Half of the 480 seats", {"taken": NUMBER}, {"taken": 240})
