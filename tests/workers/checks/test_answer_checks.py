"""What the checks find, what they accept, and that they never raise and never quote content."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.routing.jobs import (
    Classification,
    Embedding,
    Extraction,
    Generation,
    Job,
    Summary,
    parse_job,
)
from forebay.workers.checks.answer_checks import INDISPENSABLE, check

INVOICE = "Invoice 2026-0114 of 9 April 2026 for Tallow & Reed. Total due 1,357.00 EUR, in 14 days."
FIELDS = {
    "type": "object",
    "properties": {
        "number": {"type": "string"},
        "total": {"type": "number"},
        "date": {"type": "string", "format": "date"},
        "currency": {"type": "string", "enum": ["EUR", "USD"]},
        "paid": {"type": ["boolean", "null"]},
    },
    "required": ["number", "total"],
}
RIGHT = {"number": "2026-0114", "total": 1357, "date": "2026-04-09", "currency": "EUR"}
NEWS = (
    "The council of Pellham closed the swimming pool on Monday because the roof leaks. Repairs "
    "will cost 40,000 euros and last until 3 June. Swimmers may use the pool of Norbury, and "
    "season tickets stay valid there."
)
GOOD = "Pellham's pool is closed until June for a leaking roof; Norbury accepts season tickets."


def job(kind: str, **request) -> Job:
    return parse_job({"request": {"kind": kind, **request}})


CLASSIFY = job("classify", text="t", labels=["a", "b"])
EXTRACT = job("extract", text=INVOICE, schema=FIELDS)
SUMMARIZE = job("summarize", text=NEWS, max_words=20)
CHAT = job("generate", messages=[{"role": "user", "content": "q"}])
EMBED = job("embed", texts=["a", "b"])


def failed(task, content, finish="stop"):
    return {result.name for result in check(task, content, finish=finish) if not result.passed}


def extraction(**fields):
    return failed(EXTRACT, Extraction(data={**RIGHT, **fields}))


def summary(text, finish="stop"):
    return failed(SUMMARIZE, Summary(text=text), finish)


def generation(text, finish="stop", **form):
    task = job("generate", messages=[{"role": "user", "content": "q"}], **form)
    return failed(task, Generation(text=text, finish=finish), finish)


def test_a_label_must_be_one_of_the_set():
    assert failed(CLASSIFY, Classification(label="a", probability=1)) == set()
    assert failed(CLASSIFY, Classification(label="c", probability=1)) == {"label"}


def test_an_answer_of_another_kind_fails():
    assert failed(CLASSIFY, Summary(text="a")) == {"kind"}


def test_a_right_extraction_passes():
    assert extraction() == set()
    assert extraction(paid=None) == set()


@pytest.mark.parametrize("total", [1358, 135.7, 14.5, float("nan"), float("inf")])
def test_a_number_that_is_not_in_the_text_fails(total):
    assert extraction(total=total) == {"grounded"}


@pytest.mark.parametrize("number", ["2026-0115", "Tallow & Sons", "INV 2026-0114"])
def test_a_value_that_is_not_in_the_text_fails(number):
    assert extraction(number=number) == {"grounded"}


def test_a_date_must_be_one_of_the_text():
    assert extraction(date="2026-04-10") == {"grounded"}


def test_formats_of_the_schema_count():
    assert extraction(date="9 April 2026") == {"schema"}


def test_an_option_may_be_unnamed_in_the_text_unless_another_one_is_named():
    assert extraction(currency="USD") == {"grounded"}
    task = job("extract", text="It costs 7.", schema=FIELDS)
    data = {"number": "7", "total": 7, "currency": "USD"}
    assert failed(task, Extraction(data=data)) == set()


def test_an_extraction_that_does_not_validate_fails_its_schema():
    assert failed(EXTRACT, Extraction(data={"number": "2026-0114"})) == {"schema"}
    assert extraction(total="1,357.00") == {"schema"}


def test_an_extraction_without_any_value_fails():
    task = job("extract", text="t", schema={"type": "object"})
    for data in ({}, {"a": None, "b": ""}, {"a": []}):
        assert failed(task, Extraction(data=data)) == {"filled"}


def test_one_text_in_two_fields_fails():
    task = job("extract", text="edge-14 nginx", schema={"type": "object"})
    assert failed(task, Extraction(data={"host": "edge-14", "program": "nginx"})) == set()
    assert failed(task, Extraction(data={"host": "nginx", "program": "nginx"})) == {"distinct"}


def test_a_list_of_the_same_object_over_and_over_fails():
    task = job("extract", text="nail 3, screw 4", schema={"type": "object"})
    same = {"lines": [{"article": "nail", "quantity": 3}] * 4}
    assert failed(task, Extraction(data=same)) == {"repetition"}
    assert failed(task, Extraction(data={"lines": same["lines"][:2]})) == set()


def test_a_good_summary_passes():
    assert summary(GOOD) == set()


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("", {"present"}),
        ("...", {"present"}),
        (GOOD.replace("June", "3 July"), {"numbers"}),
        (GOOD + " Repairs cost 60,000.", {"numbers"}),
        (GOOD.replace("Norbury", "Larkfield"), {"names"}),
        ("It is a moving story about childhood friendship and the passing years.", {"on_topic"}),
        (" ".join(NEWS.split()[:18]) + ".", {"own_words"}),
        ("The pool is closed. The roof leaks. The pool is closed.", {"once"}),
        ("I'm sorry, but I cannot summarize this text.", {"answers"}),
    ],
)
def test_the_fault_of_a_summary_is_named(text, faults):
    assert faults <= summary(text)


def test_a_summary_may_be_a_little_too_long():
    words = [
        "pool",
        "closed",
        "roof",
        "leaks",
        "repairs",
        "euros",
        "swimmers",
        "season",
        "tickets",
        "valid",
    ]
    assert "length" not in summary(" ".join((words * 3)[:22]))
    assert "length" in summary(" ".join((words * 3)[:23]))


def test_a_summary_that_was_cut_off_is_whole_if_it_ends_as_a_sentence():
    assert summary(GOOD, "length") == set()
    assert summary(GOOD.rstrip("."), "length") == {"whole"}


def test_a_short_text_may_be_returned_as_its_summary():
    task = job("summarize", text="The pool of Pellham is closed until June.", max_words=20)
    assert failed(task, Summary(text="The pool of Pellham is closed until June.")) == set()


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I am unable to provide legal advice.",
        "As an AI language model, I have no opinion.",
        "I\u2019m sorry for the confusion, but as a chatbot designed to assist, I don't do that.",
        "We cannot assist you with this request.",
    ],
)
def test_a_refusal_is_no_answer(text):
    assert generation(text) == {"answers"}


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry that your parcel is late. It will arrive on Monday.",
        "I cannot wait to see the new ferry!",
        "We will not charge you again.",
        "Sorry for the delay; as a small thank-you we add a voucher.",
    ],
)
def test_an_apology_is_no_refusal(text):
    assert generation(text) == set()


def test_a_generation_that_was_cut_off_fails():
    assert generation("and then", "length") == {"whole"}
    assert failed(CHAT, Generation(text="and then", finish="length")) == {"whole"}


def test_a_generation_that_repeats_itself_fails():
    assert generation("the fem, la " * 9) == {"repetition"}


def test_a_generation_must_match_its_pattern_as_a_whole():
    assert generation("ORD-12", regex="ORD-[0-9]+") == set()
    assert generation("see ORD-12", regex="ORD-[0-9]+") == {"regex"}


def test_a_generation_must_validate_against_its_schema():
    assert generation('{"total": 3, "number": "x"}', schema=FIELDS) == set()
    assert generation('{"total": "3"}', schema=FIELDS) == {"schema"}
    assert generation("three", schema=FIELDS) == {"schema"}


def test_there_is_one_vector_a_text_all_of_one_size_and_of_unit_length():
    def vectors(*rows):
        return failed(EMBED, Embedding(vectors=rows))

    assert vectors((0.6, 0.8), (1.0, 0.0)) == set()
    assert vectors((0.6, 0.8)) == {"vectors"}
    assert vectors((0.6, 0.8), (1.0,)) == {"vectors"}
    assert vectors((0.6, 0.8), (0.5, 0.0)) == {"vectors"}
    assert vectors((0.6, 0.8), (float("nan"), 0.0)) == {"vectors"}


def test_these_checks_are_indispensable():
    assert {"label", "schema", "regex", "vectors", "kind", "present"} == INDISPENSABLE


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=12,
)
contents = st.one_of(
    st.builds(Classification, label=st.text(), probability=st.floats(0, 1)),
    st.builds(Extraction, data=st.dictionaries(st.text(max_size=9), values, max_size=5)),
    st.builds(Summary, text=st.text()),
    st.builds(Generation, text=st.text(), finish=st.sampled_from(["stop", "length"])),
    st.builds(Embedding, vectors=st.lists(st.lists(st.floats(), max_size=3), max_size=3)),
)


@given(
    st.sampled_from([CLASSIFY, EXTRACT, SUMMARIZE, CHAT, EMBED]),
    contents,
    st.sampled_from(["stop", "length"]),
)
def test_no_content_makes_the_checks_raise(task, content, finish):
    checks = check(task, content, finish=finish)
    assert checks
    assert all(bool(result.note) != result.passed for result in checks)


@given(st.text("\u00e4\u00f6\u03b1\u03b2\u4e2d\u6587", min_size=3))
def test_no_note_repeats_content(text):
    task = job("extract", text="t", schema={"type": "object", "required": [text]})
    for result in check(task, Extraction(data={text[::-1] + "x": text}), finish="stop"):
        assert text not in result.note


def test_a_deep_document_is_checked():
    deep = {}
    for _ in range(5_000):
        deep = {"a": deep}
    task = job("extract", text="t", schema={"type": "object"})
    assert failed(task, Extraction.model_construct(data=deep)) >= {"filled"}
