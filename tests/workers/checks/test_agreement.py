"""Two answers are compared by their content; formatting is ignored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.routing.jobs import Classification, Embedding, Extraction, Generation, Summary
from forebay.workers.checks import agreement, final_answer
from forebay.workers.engines.engine import Vectors

ANY_TEXT = st.text(max_size=200)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda part: (
        st.lists(part, max_size=4) | st.dictionaries(st.text(max_size=5), part, max_size=4)
    ),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("18", "18.0"),
        ("18", "$18"),
        ("1,000", "1000.0"),
        ("-5", "\u22125"),
        ("12,50", "12.5"),
        ("1.234,50", "1,234.5"),
        ("3/4", "0.75"),
        ("33.33", "33.333333"),
        ("18", "She sells 9 eggs at $2 each, so 9 * 2 = $18."),
        ("#### 18", "The answer is: 18 dollars."),
        ("First 16 - 3 - 4 = 9, then 9 * 2 = 18", "\\boxed{18}"),
        ("B", "(B)"),
        ("b", "The answer is B."),
        ("B) four cats", "B. four cats, since there are four"),
        ("Yes", "yes, because it rains."),
        ("true", "Yes."),
        ("No", "false"),
        ("Lisbon", " lisbon. "),
        ('{"a": 1, "b": "x"}', '{"b": "X", "a": 1.0}'),
        ("[1, 2]", "[1,2]"),
    ],
)
def test_formatting_is_ignored(one, other):
    assert agreement.texts(one, other) == agreement.texts(other, one) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("18", "19"),
        ("5", "-5"),
        ("1,000", "1"),
        ("33", "33.3"),
        ("3/4", "1/4"),
        ("18", "nobody knows"),
        ("A", "B"),
        ("(C) ten", "(D) ten"),
        ("Yes", "No"),
        ("yes, it is 5", "no, it is 5"),
        ("B", "18"),
        ("The answer is 18, not 20", "The answer is 20."),
        ("(1, 2)", "(2, 2)"),
        ("Lisbon", "Porto"),
    ],
)
def test_different_answers_disagree(one, other):
    assert agreement.texts(one, other) == agreement.texts(other, one) < 1
    assert agreement.texts(one, other) < 0.5


#: Pairs of answers by what they come down to, and whether they are the same answer.
LITERALS = [
    ("(2, 3)", "3", False),
    ("2", "(2, ...)", False),
    ("[2]", "2", False),
    ("{2}", "2", False),
    ('{"a": 2}', "2", False),
    ("[]", "{}", False),
    ("{}", "[{}]", False),
    ("[1, 2]", "[1,2]", True),
    ("[1, 2]", "(1, 2)", False),
    ("[1, 2]", "[2, 1]", False),
    ("[1, [2, 3]]", "[1, 2, 3]", False),
    ("[1, [2, 3]]", "[1,[2,3]]", True),
    ("[(4, 1), (2, 3)]", "[(3, 1), (2, 3)]", False),
    ("[(4, 1), (2, 3)]", "[(4,1),(2,3)]", True),
    ("('a', 1), ('b', 2)", "(('a', 1), ('b', 2))", True),
    ("{1, 2}", "{2, 1}", True),
    ("{1: None}", "{1:None}", True),
    ("{'a': 1, 'b': 2}", '{"b": 2, "a": 1}', True),
    ("['1']", "[1]", False),
    ("[True]", "[1]", False),
    ("[1.0]", "[1]", True),
    ("['A']", "['a']", False),
    ("['a b']", "['a  b']", False),
    ("'A b'", '"a b"', False),
    ("'a b'", '"a b"', True),
    ("'a b'", "a b", True),
    ("[a, b]", "[a,b]", True),
    ("The answer is (2, 3).", "(2, 3)", True),
    ("```python\n[1, 2]\n```", "[1,2]", True),
    ("\\boxed{[1, 2]}", "[1, 2]", True),
    ("(18)", "18", True),
    ("(B)", "B", True),
]
SCALARS = [
    ('"2"', "2", True),
    ("True", "1", False),
    ("True", "true", True),
    ("1.0", "1", True),
    ("1e3", "1000", True),
    ("None", "null", True),
    ("None", "0", False),
    ("007", "07", False),
    ("007", "7", True),
    ("5km", "5 km", True),
    ("5km", "5kg", False),
    ("0b0b", "0b0b0b", False),
    ("0 C", "123 0", False),
    ("Lisbon.", '"lisbon"', True),
    ("new  york", "New York", True),
    ("internal", "international", False),
    ("aaQwQw", "aaQWqW", False),
    ("iPhone", "iphone", True),
    ("hello.txt", "hello.txt/", False),
]
DATES = [
    ("2024-03-05", "5 March 2024", True),
    ("March 5, 2024", "05/03/2024", True),
    ("5 March", "2024-03-05", True),
    ("It happened on 5 March 2024, as the deed of the notary in Delft says.", "2024-03-05", True),
    ("5 March 2024", "6 March 2024", False),
    ("2024-03-05", "2023-03-05", False),
    ("2024-03-05", "5", False),
    ("3:30 pm", "15:30", True),
    ("3:30 pm", "3:30 am", False),
    ("2024-03-05 14:00", "2024-03-05 15:00", False),
    ("2024-03-05 14:00", "5 March 2024", True),
]
WRAPPED = [
    ('{"answer": 18}', "18", True),
    ('{"reasoning": "9 * 2", "answer": "18"}', '{"reasoning": "it is so", "answer": 18}', True),
    ('{"reasoning": "9 * 2", "answer": 18}', '{"reasoning": "9 * 2", "answer": 19}', False),
    ('{"answer": 18, "unit": "km"}', "18", False),
]


@pytest.mark.parametrize(("one", "other", "same"), [*LITERALS, *SCALARS, *DATES, *WRAPPED])
def test_what_an_answer_comes_down_to_is_the_same_or_is_not(one, other, same):
    assert agreement.texts(one, other) == agreement.texts(other, one) == same


def test_documents_agree_by_degrees():
    one, other = '{"a": 1, "b": "x"}', '{"a": 1.0, "b": "y"}'
    assert agreement.texts(one, other) == 0.5
    assert agreement.texts(f"[{one}]", f"[{other}]") == 0.5


@pytest.mark.parametrize("nested", ["[" * 300 + "]" * 300, "(" * 90_000 + ")" * 90_000])
def test_a_literal_that_is_nested_too_deep_is_compared_as_a_text(nested):
    assert agreement.texts(nested, nested) == 1
    assert agreement.texts(nested, f"[{nested}]") == 0


def test_prose_agrees_by_degrees():
    same = agreement.texts("the parcel came late and wet", "the parcel came late")
    other = agreement.texts("the parcel came late and wet", "my invoice is wrong")
    assert 0.7 < same < 1
    assert other == 0


def test_many_numbers_in_prose_are_not_taken_for_one_answer():
    one = "We opened 3 shops in 2019 and have sold tea and coffee there ever since to 40 people."
    other = "We sold tea and coffee in 3 shops since 2019; more than 40 people come each day."
    assert 0 < agreement.texts(one, other) < 1


def test_fields_are_compared_one_by_one():
    one = {"name": "Ines Varga", "total": 12.5, "items": [{"n": 1}, {"n": 2}], "note": None}
    other = {"name": "INES VARGA", "total": "12.50", "items": [{"n": 1}, {"n": 3}]}
    first, second = Extraction(data=one), Extraction(data=other)
    assert agreement.contents(first, second) == pytest.approx(4 / 5)


def test_a_missing_field_is_a_difference():
    assert agreement.fields({"a": 1, "b": 2}, {"a": 1}) == 0.5
    assert agreement.fields({"a": True}, {"a": 1}) == 0


def test_labels_agree_or_do_not():
    spam, ham = Classification(label="spam"), Classification(label="ham")
    assert agreement.contents(spam, spam) == 1
    assert agreement.contents(spam, ham) == 0


def test_a_summary_with_another_figure_agrees_less():
    first = Summary(text="The works in Delft lost 40 people after Braun sold it.")
    same = Summary(text="After Braun sold the works in Delft it lost 40 people.")
    wrong = Summary(text="After Braun sold the works in Delft it lost 90 people.")
    assert agreement.contents(first, same) > agreement.contents(first, wrong) > 0.5


def test_prose_is_compared_by_meaning_if_there_is_an_encoder():
    embedded = []

    def embed(texts: list[str]) -> Vectors:
        embedded.append(texts)
        return Vectors(vectors=((1.0, 0.0), (0.6, 0.8)), tokens_in=2)

    one, other = Summary(text="it came late"), Summary(text="the delay was long")
    assert agreement.contents(one, other, embed) == pytest.approx(0.6)
    assert embedded == [["it came late", "the delay was long"]]


def test_no_encoder_is_needed_to_compare_numbers():
    one, other = Generation(text="The answer is 7."), Generation(text="It is 8.")
    assert agreement.contents(one, other, embed=None) == 0


def test_answers_of_different_kinds_do_not_agree():
    vectors = Embedding(vectors=((1.0,),))
    assert agreement.contents(vectors, vectors) == 0
    assert agreement.contents(Summary(text="a"), Generation(text="a")) == 0


@given(ANY_TEXT, ANY_TEXT)
def test_the_agreement_of_any_two_texts_is_symmetric_and_from_0_to_1(one, other):
    agreed = agreement.texts(one, other)
    assert 0 <= agreed <= 1
    assert agreed == pytest.approx(agreement.texts(other, one))
    assert agreement.texts(one, one) == 1


@given(ANY_JSON, ANY_JSON)
def test_the_agreement_of_any_two_documents_is_from_0_to_1(one, other):
    assert 0 <= agreement.fields(one, other) <= 1
    assert agreement.fields(one, one) == pytest.approx(1)


def test_deep_parts_are_compared_as_a_whole():
    deep, other = [1], [2]
    for _ in range(500):
        deep, other = [deep], [other]
    assert agreement.fields(deep, deep) == 1
    assert agreement.fields(deep, other) == 0


LONG_CHARS = 120_000  # an algorithm that takes their square takes minutes


@pytest.mark.timeout(30)
@pytest.mark.parametrize("unit", ["1", "1,", "1/", "- ", "=", "answer is ", " \n", "A. "])
def test_a_long_text_is_compared_in_linear_time(unit):
    text = unit * (LONG_CHARS // len(unit)) + "-1"
    assert final_answer.decides(text) in {True, False}
    assert 0 <= agreement.texts(text, text + "x") <= 1


def test_a_number_may_have_more_digits_than_python_parses():
    assert agreement.texts("7/" + "1" * 5_000, "7/" + "1" * 5_000 + ".0") == 1
    assert final_answer.decides("7/" + "0" * 5_000)
