"""The checks find faults, accept right answers, never raise and never quote content."""

import json

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


@pytest.mark.parametrize("total", [1358, 135.7, 14.5, -1357])
def test_a_number_that_is_not_in_the_text_fails(total):
    assert extraction(total=total) == {"grounded"}


@pytest.mark.parametrize("total", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_does_not_have_never_passes_the_schema(total):
    assert extraction(total=total) == {"grounded", "schema"}
    assert generation(json.dumps({"number": "x", "total": total}), schema=FIELDS) == {"schema"}
    assert generation('{"number": "x", "total": 1e999}', schema=FIELDS) == {"schema"}


@pytest.mark.parametrize("half", ["\ud83d", "a \udc00 b"])
def test_half_a_character_never_passes_the_schema(half):
    free = {"type": "object"}
    assert "schema" in failed(job("extract", text="t", schema=free), Extraction(data={"a": half}))
    assert "schema" in failed(job("extract", text="t", schema=free), Extraction(data={half: 1}))
    assert generation(json.dumps({"a": half}), schema=free) == {"schema"}


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


PEOPLE = {
    "type": "object",
    "properties": {
        "people": {"type": "array", "items": {"type": "string"}},
        "due": {"type": ["string", "null"], "format": "date"},
        "first_contact": {"anyOf": [{"type": "string", "format": "email"}, {"type": "null"}]},
    },
}


@pytest.mark.parametrize("data", [{"people": []}, {}, {"due": None, "people": []}])
@pytest.mark.parametrize(
    "text", ["Thanks, all good.", "People: none. Due: -", "People: n/a", "Due: keine Angabe"]
)
def test_nothing_found_is_a_good_answer_if_the_text_says_nothing(data, text):
    assert failed(job("extract", text=text, schema=PEOPLE), Extraction(data=data)) == set()


@pytest.mark.parametrize("data", [{"people": []}, {}, {"due": None, "people": []}])
@pytest.mark.parametrize(
    "text",
    [
        "People: Ada Byron",
        "first contact: see below",
        "Pay by 9 April 2026.",
        "Zahlbar bis 9. Mai 2026.",
        "Write to ada@example.org.",
    ],
)
def test_nothing_found_fails_if_the_text_has_a_field(data, text):
    assert failed(job("extract", text=text, schema=PEOPLE), Extraction(data=data)) == {"filled"}


@pytest.mark.parametrize("data", [{"a": ""}, {"a": " ", "b": "\u200b"}, {"a": ["", ""]}])
def test_empty_texts_alone_are_no_answer(data):
    task = job("extract", text="t", schema={"type": "object"})
    assert failed(task, Extraction(data=data)) == {"filled"}


def test_one_text_in_two_fields_fails():
    task = job("extract", text="edge-14 nginx", schema={"type": "object"})
    assert failed(task, Extraction(data={"host": "edge-14", "program": "nginx"})) == set()
    assert failed(task, Extraction(data={"host": "nginx", "program": "nginx"})) == {"distinct"}


@pytest.mark.parametrize(
    "text",
    [
        "Bill to: Leeds. Ship to: Leeds.",
        "Bill and ship to: Leeds.",
        "Rechnung und Lieferung nach Leeds",
        "Facturer et livrer: Leeds",
        "Bill to: Leeds. Ship to the same place. We like Leeds.",
        "from/to: Leeds",
    ],
)
def test_two_fields_may_rightly_be_equal(text):
    task = job("extract", text=text, schema={"type": "object"})
    assert failed(task, Extraction(data={"bill": "Leeds", "ship": "Leeds"})) == set()


def test_three_fields_are_not_filled_by_two_occurrences():
    task = job("extract", text="Bill to: Leeds. Ship to: Leeds. By: Ada.", schema=PEOPLE)
    data = {"bill": "Leeds", "ship": "Leeds", "by": "Leeds"}
    assert failed(task, Extraction(data=data)) == {"distinct"}


FEELING = {"type": "object", "properties": {"s": {"enum": ["positive", "negative"]}}}


@pytest.mark.parametrize("answer", ["positive", "negative"])
@pytest.mark.parametrize(
    "text",
    [
        "The negative of the photo is lost. It was wonderful.",
        "Was it negative? It was wonderful.",
        "I did not expect a negative experience, or a positive one.",
    ],
)
def test_an_ordinary_word_in_the_text_chooses_no_option(text, answer):
    task = job("extract", text=text, schema=FEELING)
    assert failed(task, Extraction(data={"s": answer})) == set()


EXPECTED = "I expected a negative experience, but it was wonderful."


def test_an_option_that_the_text_denies_is_wrong():
    schema = {**FEELING, "properties": {**FEELING["properties"], "x": {"type": "string"}}}
    task = job("extract", text=EXPECTED, schema=schema)
    assert failed(task, Extraction(data={"s": "positive", "x": "wonderful"})) == set()
    assert failed(task, Extraction(data={"s": "negative", "x": "wonderful"})) == {"grounded"}


def test_a_schema_may_ask_for_what_the_text_denies():
    schema = {"type": "object", "properties": {"expected": FEELING["properties"]["s"]}}
    task = job("extract", text=EXPECTED, schema=schema)
    assert failed(task, Extraction(data={"expected": "negative"})) == set()


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("It costs 5 EUR.", "EUR", "USD"),
        ("It costs 5 \u20ac.", "EUR", "USD"),
        ("It costs five dollars.", "USD", "EUR"),
    ],
)
def test_a_code_in_the_text_chooses_its_option(text, right, wrong):
    schema = {"type": "object", "properties": {"c": {"enum": ["EUR", "USD"]}}}
    task = job("extract", text=text, schema=schema)
    assert failed(task, Extraction(data={"c": right})) == set()
    assert failed(task, Extraction(data={"c": wrong})) == {"grounded"}


AMOUNT = {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]}


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("Balance: -12.50 EUR", -12.5, 12.5),
        ("Balance: \u221212.50 EUR", -12.5, 12.5),
        ("Balance: 12.50- EUR", -12.5, 12.5),
        ("Balance: (12.50)", -12.5, 12.5),
        ("Balance: -\u20ac12.50", -12.5, 12.5),
        ("Balance: EUR -12,50", -12.5, 12.5),
        ("Balance: minus 12.50", -12.5, 12.5),
        ("Balance: 12.50 EUR", 12.5, -12.5),
        ("Pages 10-12", 12, -12),
        ("PK-4471", 4471, -4471),
        ("Revenue 1.5 Mio. EUR", 1_500_000, 1.5),
        ("Revenue of 3k", 3_000, 3),
        ("Revenue of 2 lakh rupees", 200_000, 2),
        ("Revenue of \u20b912,34,567", 1_234_567, 12),
        ("Revenue of 1,234,567", 1_234_567, 567),
        ("Revenue of 1'234.50", 1234.5, 234.5),
        ("Revenue of 1 234,50 EUR", 1234.5, 234.5),
        ("Revenue of two million", 2_000_000, 2_000),
        ("Revenue of 3\u4e07\u5186", 30_000, 3),
        ("1\u00bd cups", 1.5, 11.5),
        ("\u00be cup", 0.75, 34),
        ("\u0663\u066b\u0665 kg", 3.5, 35),
        ("the 3rd floor", 3, 4),
        ("the third floor", 3, 33),
        ("f\u00fcnfundzwanzig Kisten", 25, 52),
    ],
)
def test_sign_and_scale_of_a_number_count(text, right, wrong):
    task = job("extract", text=text, schema=AMOUNT)
    assert failed(task, Extraction(data={"n": right})) == set()
    assert failed(task, Extraction(data={"n": wrong})) == {"grounded"}


def test_a_schema_may_ask_for_millions():
    schema = {**AMOUNT, "properties": {"n": {"type": "number", "description": "in million EUR"}}}
    task = job("extract", text="Revenue was 1.5 million.", schema=schema)
    assert failed(task, Extraction(data={"n": 1.5})) == set()


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("Start: 2025-03-01 14:30 UTC", "2025-03-01T14:30:00Z", "2025-03-01T15:30:00Z"),
        (
            "Beginn am 1. M\u00e4rz 2025 um 14.30 Uhr",
            "2025-03-01T14:30:00Z",
            "2025-03-02T14:30:00Z",
        ),
        ("le 1er mars 2025 \u00e0 14h30", "2025-03-01T14:30:00+01:00", "2025-03-01T14:00:00+01:00"),
        ("1 March 2025, 2:30 pm", "2025-03-01T14:30:00Z", "2025-03-01T02:30:00Z"),
        ("2025\u5e743\u67081\u65e5 14:30", "2025-03-01T14:30:00Z", "2025-01-03T14:30:00Z"),
    ],
)
def test_a_date_time_in_another_spelling_is_found(text, right, wrong):
    schema = {"type": "object", "properties": {"w": {"type": "string", "format": "date-time"}}}
    task = job("extract", text=text, schema=schema)
    assert failed(task, Extraction(data={"w": right})) == set()
    assert failed(task, Extraction(data={"w": wrong})) == {"grounded"}
    assert "schema" in failed(task, Extraction(data={"w": "yesterday"}))


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
    names = {"label", "questions", "schema", "regex", "vectors", "kind", "present"}
    assert names == INDISPENSABLE


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
    schema = {"type": "object", "properties": {"a": {"type": "object"}}}
    task = job("extract", text="A: nail", schema=schema)
    assert failed(task, Extraction.model_construct(data=deep)) >= {"filled"}


@pytest.mark.parametrize(
    "text", ["[]", "{}", "+", "-", "\U0001f44d", "7", "\u662f", "\u0e43\u0e0a\u0e48", "..."]
)
def test_whatever_can_be_seen_is_present(text):
    assert generation(text) == set()


@pytest.mark.parametrize(
    "text", ["", " \n\t", "\u200b\u200d\ufeff", "\u3164", "\u2800", "\ufe0f\u0301"]
)
def test_a_text_that_shows_nothing_is_absent(text):
    assert generation(text) == {"present"}
    assert "present" in summary(text)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("\u6c60" * 40, "\u6c60" * 46),
        ("\u0e2a" * 100, "\u0e2a" * 115),
        ("\u304b\u3002" * 20, "\u304b" * 50),
    ],
)
def test_the_length_is_checked_in_scripts_without_spaces(right, wrong):
    assert "length" not in summary(right)
    assert "length" in summary(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "Das Schwimmbad von Pellham ist wegen eines Lecks bis zum 3. Juni geschlossen.",
        "La piscine de Pellham est ferm\u00e9e pour des travaux sur le toit de 40 000 euros.",
        "\u4f69\u52d2\u59c6\u7684\u6cf3\u6c60\u56e0\u5c4b\u9876\u6f0f\u6c34\u5173\u95ed\u81f36\u67083\u65e5\u3002",
    ],
)
def test_a_summary_in_another_language_is_not_compared_by_words(text):
    assert summary(text) == set()


@pytest.mark.parametrize(
    "text",
    [
        "Es tut mir leid, aber ich kann Ihnen dabei nicht helfen.",
        "Je suis d\u00e9sol\u00e9, mais je ne peux pas vous aider.",
        "Lo siento, pero no puedo ayudar con eso.",
    ],
)
def test_a_refusal_in_another_language_is_no_answer(text):
    assert generation(text) == {"answers"}


def test_an_idiom_is_no_refusal():
    assert generation("I can't help but admire the new ferry.") == set()
