"""Numbers, dates and words are found in any formatting, and only in texts that have them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.workers.checks.grounding import Source
from forebay.workers.checks.reading.dates import dates
from forebay.workers.checks.reading.numerals import mentions, normalized


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234.50", 1234.5),
        ("1.234,50", 1234.5),
        ("1 234,50", 1234.5),
        ("1'234.50", 1234.5),
        ("1\u00a0234\u00a0567", 1234567),
        ("12,480", 12480),
        ("12,480", 12.48),
        ("0.75", 0.75),
        ("6,1 percent", 6.1),
        ("20 %", 0.2),
        ("41.8 million", 41_800_000),
        ("3k", 3_000),
        ("version 10.0.4", 10),
        ("three parcels", 3),
        ("nobody was hurt", 0),
        ("-5 degrees", -5),
        ("EUR 7.00", 7),
    ],
)
def test_a_number_is_found_in_any_formatting(text, value):
    assert Source(text).has_number(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1,234.50", 234.5), ("1,234.50", 1234), ("47", 4), ("20 parcels", 0.2), ("", 0), ("one", 11)],
)
def test_a_missing_number_is_not_found(text, value):
    assert not Source(text).has_number(value)


@given(st.integers(0, 10**12), st.sampled_from(["{:,}", "{}", "{:,}.00", "{}.0"]))
def test_every_formatted_number_is_read_back(number, form):
    found = mentions(normalized(f"It is {form.format(number)}!"))
    assert any(Decimal(number) in mention.values for mention in found)


@pytest.mark.parametrize(
    "text",
    ["2026-04-09", "2026/4/9", "9 April 2026", "9th of April, 2026", "Apr 9, 2026", "09.04.2026",
     "4/9/2026", "9.4.26", "on April 9"],
)  # fmt: skip
def test_a_date_is_found_in_any_formatting(text):
    assert Source(text).has_text("2026-04-09")


@pytest.mark.parametrize(
    "text", ["2026-04-10", "9 May 2026", "9 April 2025", "April 2026", "9 2026 4"]
)
def test_another_date_is_not_found(text):
    assert not Source(text).has_text("2026-04-09")


def test_the_place_of_a_date_is_known():
    ((start, end), meant) = next(dates("Due 29 March 2026."))
    assert ("Due 29 March 2026."[start:end], meant) == ("29 March 2026", {(2026, 3, 29)})


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("To: Calder  Bay\nHarbour Board", "calder bay harbour board"),
        ("plate TEV 4402,", "TEV-4402"),
        ("call +49 (30) 1234-567", "+49301234567"),
        ("It costs 5 \u20ac", "5 EUR"),
        ("\uff21\uff22\uff23 Ltd", "ABC Ltd"),
        ("My box was wet when it arrived", "The box arrived wet when it was"),
    ],
)
def test_a_value_is_found_in_another_formatting(source, value):
    assert Source(source).has_text(value)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("order ORD-58213", "ORD-58214"),
        ("Tom Hale", "Tom Hall"),
        ("gate B7", "B"),
        ("It costs 5 \u20ac", "5 USD"),
        ("call 123456", "234"),
        ("wet box", "The dog ate my homework yesterday"),
    ],
)
def test_a_missing_value_is_not_found(source, value):
    assert not Source(source).has_text(value)


def test_all_numbers_and_dates_of_the_other_text_must_be_found():
    source = Source("On 2 June 640 of 1,000 servers failed for 47 minutes.")
    assert source.has_numbers_of("640 servers failed on June 2.")
    assert source.has_numbers_of("1. For 47 minutes.\n2. Of 1000 servers.")
    assert not source.has_numbers_of("650 servers failed.")
    assert not source.has_numbers_of("On 3 June 640 servers failed.")


def test_a_copied_beginning_is_recognised_despite_a_few_other_words():
    text = "When the council announced that the library would close, readers took it over. " * 3
    source = Source(text)
    assert source.begins_with("When the council announced that the old library would close.")
    assert not source.begins_with("Readers took over a library that the council wanted to close.")
    assert not source.begins_with(text)
    assert not source.begins_with("When the council")


def test_the_share_of_words_is_none_if_there_are_few():
    assert Source("A text.").share_of("Yes.") is None
    assert (
        Source("The batteries last through winters").share_of("battery lasts through winter")
        == 0.75
    )


@given(st.text(), st.text(), st.floats())
def test_any_text_is_searched_without_an_error(text, other, number):
    source = Source(text)
    assert source.has_text(text)
    assert source.has_names_of(text)
    assert source.has_numbers_of(text)
    assert isinstance(source.has_text(other), bool)
    assert isinstance(source.has_number(number), bool)


@pytest.mark.parametrize(
    ("text", "value", "other"),
    [
        ("Closed from 3 to 15 May 2025.", "2025-05-03", "2025-05-04"),
        ("On 8, 15 and 22 May 2025.", "2025-05-08", "2025-05-09"),
        ("May 1-15, 2025", "2025-05-15", "2025-05-16"),
        ("二〇二五年三月十五日", "2025-03-15", "2025-03-16"),
        ("Pays from 04/2025 on.", "2025-04", "2025-05"),
        ("at quarter past three", "3:15 pm", "2:45 pm"),
        ("um halb drei", "14:30", "15:30"),
        ("Breakfast 7-10:30", "07:00", "08:00"),
        ("das 9h às 17h30", "09:00", "10:00"),
        ("Version v2.14.0", "2.14.0", "2.14"),
        ("tel. +44 20 7946 0958", "+44 (0)20 7946 0958", "+44 (0)20 7946 0957"),
        ("Église de Müller", "Eglise de Mueller", "Eglise de Moller"),
        ("signed for Acme B.V. by J. P. Smit", "Acme BV", "Acme AG"),
        ("500 Oracle Pkwy", "500 Oracle Parkway", "500 Oracle Road"),
        ("SKU AB-00912/7", "AB-00912/7", "AB-00921/7"),
        ("three nuts", "nut", "net"),
    ],
)
def test_a_value_is_found_in_another_spelling_and_another_value_is_not(text, value, other):
    source = Source(text)
    assert source.has_text(value)
    assert not source.has_text(other)


@pytest.mark.parametrize(
    ("text", "value", "other"),
    [
        ("8,5 M€ en cinq ans", 8_500_000, 85),
        ("résultat de 2,3 Mds €", 2_300_000_000, 23),
        ("six grand", 6_000, 60),
        ("R$ 12.345,67", 12_345.67, 12.345),
    ],
)
def test_a_number_is_found_at_its_scale_and_another_is_not(text, value, other):
    assert Source(text).has_number(value)
    assert not Source(text).has_number(other)
