"""A text may say in words that a number is negative; a sign that is written counts."""

import pytest

from forebay.workers.checks.grounding import Source


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Weight 82.5 kg, down 1.2 kg since March.", 1.2),
        ("The account is overdrawn by £1,209.15.", 1209.15),
        ("Der Umsatz sank um 12 %.", 12),
        ("Une perte de 40 € en mai.", 40),
        ("Una pérdida de 40 € en mayo.", 40),
        ("Sconto: -20%", 20),
    ],
)
def test_a_loss_may_have_either_sign(text, number):
    assert Source(text).has_number(number)
    assert Source(text).has_number(-number)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [("It fell to -4 degrees.", 4), ("It fell to 4 degrees.", -4), ("It rose by 4 points.", -4),
     ("Overdrawn by -20.00 USD", 20), ("We lost a day. The rest costs 12.", -12)],
)  # fmt: skip
def test_a_sign_a_level_and_another_clause_change_no_sign(text, wrong):
    assert not Source(text).has_number(wrong)
