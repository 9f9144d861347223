"""The marks around a text are never in the text, and are found in one look at it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.workers.prompts.turns import free_mark


@pytest.mark.parametrize(
    ("text", "mark"),
    [("a", "text"), ("a text", "text-2"), ("text-2 text-4", "text-3"), ("text-25", "text-3")],
)
def test_a_mark_is_the_first_that_is_free(text, mark):
    assert free_mark(text) == mark


@given(
    st.text(alphabet="tex-0123 ")
    | st.lists(st.integers(0, 40)).map(lambda ns: "text-".join(map(str, ns)))
)
def test_no_text_contains_its_mark(text):
    assert free_mark(text) not in text


def test_a_text_full_of_marks_takes_moments():
    text = " ".join(f"text-{n}" for n in range(2, 50_000))
    began = time.process_time()
    assert free_mark(text) == "text-50000"
    assert time.process_time() - began < 1
