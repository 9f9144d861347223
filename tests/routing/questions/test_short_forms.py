"""Questions as a line of text."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.routing.errors import InvalidJob
from forebay.routing.questions.short_forms import choice, question, questions


@pytest.mark.parametrize(
    ("text", "name", "asked", "options"),
    [
        ("urgent?=yes,no", "urgent", "urgent?", ["yes", "no"]),
        ("Is it so? = yes | no | maybe", "Is it so", "Is it so?", ["yes", "no", "maybe"]),
        ("is a=b?=yes,no", "is a=b", "is a=b?", ["yes", "no"]),
    ],
)  # fmt: skip
def test_a_choice_is_the_question_before_the_last_sign(text, name, asked, options):
    expected = {"type": "choice", "name": name, "instructions": asked, "choices": options}
    assert choice(text) == expected


@pytest.mark.parametrize("text", ["", "=", "?=a,b", "a=", "a=b", "a=,", "a=b,,c", "no sign"])
def test_another_form_of_a_choice_is_refused(text):
    with pytest.raises(InvalidJob):
        choice(text)


@pytest.mark.parametrize(
    "text", ["[]", '{"questions": []}', "[1", '{"questions": 3}', "no form", "\n"]
)
def test_a_file_without_questions_is_refused(text):
    with pytest.raises(InvalidJob):
        questions(text)


@given(st.text(max_size=40))
def test_any_text_is_a_question_or_refused(text):
    for read in (question, choice, questions):
        with suppress(InvalidJob):
            read(text)  # raises nothing else
