"""Loops are found, and emphasis, tables and refrains are not taken for loops."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.workers.checks.repetition import repeats_itself


@pytest.mark.parametrize(
    "text",
    [
        "la femme au martyre, " * 6,
        "It begins well. " + "Thank you for your patience. " * 4,
        "0000" * 40,
        "Sea " * 9,
        " ".join(
            f"{n}, the tank still holds all of its water and will hold it again."
            for n in "abcdefghijkl"
        ),
    ],
)
def test_a_loop_is_found(text):
    assert repeats_itself(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "No, no, no, no!",
        "a | b\n--- | ---\n1 | 2\n--- | ---",
        "=" * 500,
        "for a in b:\n    for c in d:\n        for e in f:\n            print(a, c, e)",
        "https://example.org/" + "".join(chr(97 + n % 26) for n in range(200)),
        "Row, row, row your boat, gently down the stream. Merrily, merrily, merrily, merrily.",
    ],
)
def test_a_text_that_people_write_is_no_loop(text):
    assert not repeats_itself(text)


@given(
    st.lists(st.text("abcdefgh", min_size=1, max_size=6), min_size=2, max_size=20),
    st.integers(5, 9),
)
def test_any_words_repeated_over_and_over_are_a_loop(words, rounds):
    assert repeats_itself(" ".join(words * rounds))


@given(st.text())
def test_any_text_is_checked_without_an_error(text):
    assert repeats_itself(text) in {True, False}
