"""Numbers, dates and values are found in the spellings of many countries; wrong ones are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.workers.checks.grounding import Source
from forebay.workers.checks.reading.number_words import spelled_numbers
from forebay.workers.checks.reading.numerals import mentions, normalized

NUMBERS = [
    ("Temperature: -40°C", -40, [40, -4]),
    ("The account is at \u2212€1.234,50", -1234.5, [1234.5, -1.2345]),
    ("Net: (€1,234.50)", -1234.5, [1234.5]),
    ("Net: €(1,234.50)", -1234.5, [1234.5]),
    ("Net: ($12.50)", -12.5, [12.5]),
    ("Change: +3.2%", 3.2, [-3.2]),
    ("Saldo -1.000.000,00 €", -1000000, [1000000, -1000]),
    ("12.50-", -12.5, [12.5]),
    ("Kontostand: 12,50- EUR", -12.5, [12.5]),
    ("Betrag: 1.234.567,89", 1234567.89, [1234.56789, 1234567]),
    ("Population 1 234 567", 1234567, [567, 1234]),
    ("Price: ¥12,000", 12000, [12]),
    ("₹1,50,000 only", 150000, [1.5, 50000]),
    ("₹ 3.5 lakh", 350000, [3.5]),
    ("Rs. 2 crore", 20000000, [2]),
    ("It cost $2.5M", 2500000, [2.5]),
    ("Costs of €3.2 bn", 3200000000, [3.2, 3200000]),
    ("Verlust von 4,5 Mrd. Euro", 4500000000, [4.5, 45]),
    ("half a million users", 500000, [1000000]),
    ("two and a half hours", 2.5, [25]),
    ("a dozen eggs", 12, [20]),
    ("three dozen eggs", 36, [30]),
    ("1,5 millions d'habitants", 1500000, [1.5, 15]),
    ("quatre-vingt-dix euros", 90, [24]),
    ("soixante-dix", 70, [17]),
    ("one thousand two hundred", 1200, [1002]),
    ("einhundertzwanzig Seiten", 120, [20]),
    ("zweitausend Euro", 2000, [200]),
    ("mil doscientos euros", 1200, [1002]),
    ("trescientos veinte", 320, [3]),
    ("duecento euro", 200, [2]),
    ("5¼ inches", 5.25, [51.4, 5]),
    ("⅓ cup", 0.3333333333333333, [3]),
    ("75 per cent", 75, [7.5]),
    ("5‰", 5, [50]),
    ("between 5 and 10 kg", 10, [16]),
    ("5\u201310 kg", 10, [-10]),
    ("-5 \u2013 -2 °C", -2, [2]),
    ("scored 3:2", 3, [32]),
    ("item no. 7", 7, [-7]),
    ("1st place", 1, [11]),
    ("the 21st century", 21, [12]),
    ("Q3 2025", 3, [-3]),
    ("ID: A-123", 123, [-123]),
    ("0,75 l", 0.75, [7.5, 57]),
    ("1e6 cells", 1000000, [60]),
    ("2.5e-3 mol", 0.0025, [2.5]),
    ("3\u00d710^4 cells", 30000, [300]),
    ("1'000'000 CHF", 1000000, [1000]),
    ("5 m long, 3 m wide", 5, [50]),
    ("500K users", 500000, [50]),
    ("100k EUR", 100000, [100]),
    ("约3.5亿元", 350000000, [3.5]),
    ("12万3千円", 123000, [12, 3]),
    ("-0.5 points", -0.5, [0.5]),
    ("minus fünf Grad", -5, [5]),
    ("moins 12,5 degrés", -12.5, [12.5]),
    ("Loss: 500 CR", 500, [50]),
    ("Overdrawn by USD 20.00-", -20, [20]),
    ("$ -3.00", -3, [3]),
    ("-3.00 $", -3, [3]),
    ("Total : -12,50", -12.5, [12.5]),
    ("Total = \u221212.50", -12.5, [12.5]),
    ("|Balance|-12.50|", -12.5, [12.5]),
    ("balance,-12.50,EUR", -12.5, [12.5]),
    ('{"balance": -12.50}', -12.5, [12.5]),
    ("<td>-12.50</td>", -12.5, [12.5]),
    ("Balance=-12.50", -12.5, [12.5]),
    ("Discount -10%", -10, []),
]
VALUES = [
    ("Due 09/04/2026", "2026-04-09", ["2026-05-09"]),
    ("Thursday, 9th April 2026", "2026-04-09", ["2026-04-19"]),
    ("9 avr. 2026", "2026-04-09", ["2026-04-08"]),
    ("2026年4月9日(木)", "2026-04-09", ["2026-09-04"]),
    ("jeudi 9 avril 2026", "2026-04-09", ["2026-04-10"]),
    ("9-Apr-2026", "2026-04-09", ["2026-04-10"]),
    ("April the 9th, 2026", "2026-04-09", []),
    ("9 апреля 2026", "2026-04-09", ["2026-04-10"]),
    ("20260409", "2026-04-09", ["2026-04-10"]),
    ("Meeting 3pm Friday", "15:00", ["03:00", "16:00"]),
    ("at 9 a.m. sharp", "09:00", ["21:00"]),
    ("um 7 Uhr", "07:00", ["08:00"]),
    ("at 12:05 am", "00:05", ["12:05"]),
    ("Visit www.example.org today", "https://www.example.org", ["https://example.com"]),
    ("Mail ADA@EXAMPLE.ORG", "ada@example.org", ["adam@example.org"]),
    ("Lufthansa flight LH 1234", "LH1234", ["LH1235"]),
    ("Dr. Müller", "Müller", ["Miller"]),
    ("MÜLLER GmbH", "Müller GmbH", ["Möller GmbH"]),
    ("It's $5", "$5", ["$6", "-$5"]),
    ("IBAN DE89 3704 0044 0532 0130 00", "DE89370400440532013000", ["DE89370400440532013001"]),
    ("ISBN 978-3-16-148410-0", "9783161484100", ["9783161484101"]),
    ("tel 030/123456", "030123456", ["030123457"]),
    ("100 EUR", "100", ["1000"]),
    ("weight 5 kg", "5 kg", ["6 kg"]),
]


@pytest.mark.parametrize(("text", "right", "wrong"), NUMBERS)
def test_a_number_counts_with_its_sign_and_scale(text, right, wrong):
    source = Source(text)
    assert source.has_number(right)
    assert [number for number in wrong if source.has_number(number)] == []


@pytest.mark.parametrize(("text", "right", "wrong"), VALUES)
def test_a_value_is_found_in_another_spelling(text, right, wrong):
    source = Source(text)
    assert source.has_text(right)
    assert [value for value in wrong if source.has_text(value)] == []


MARKS = st.sampled_from([",.", ".,", "\u00a0,", "\u202f,", "'.", "\u2019."])
SIGNS = st.sampled_from(["-{}", "\u2212{}", "{}-", "({})", "minus {}", "-\u20ac{}", "\u20ac-{}"])


@given(st.integers(100_000, 10**11), MARKS, SIGNS)
def test_a_negative_amount_is_never_taken_for_a_positive_one(cents, marks, sign):
    written = f"{cents / 100:,.2f}".translate({44: marks[0], 46: marks[1]})
    source = Source(f"Balance: {sign.format(written)}")
    assert source.has_number(-cents / 100)
    assert not source.has_number(cents / 100)
    assert not source.has_number(-cents / 100_000)


@given(st.integers(1_000, 10**11), MARKS)
def test_a_positive_amount_is_never_taken_for_a_negative_one(cents, marks):
    written = f"{cents / 100:,.2f}".translate({44: marks[0], 46: marks[1]})
    source = Source(f"Balance {written} EUR")
    assert source.has_number(cents / 100)
    assert not source.has_number(-cents / 100)


@given(st.text())
def test_the_numbers_of_any_text_are_read_without_an_error(text):
    assert all(mention.values for mention in mentions(normalized(text)))


@given(
    st.lists(
        st.sampled_from(
            [
                "two",
                "half",
                "a",
                "and",
                "hundred",
                "thousand",
                "million",
                "vingt",
                "dix",
                "dozen",
                "x",
                "3",
            ]
        )
    )
)
def test_any_words_are_read_without_an_error(words):
    assert all(number >= 0 for number in spelled_numbers(words, " ".join(words)))
