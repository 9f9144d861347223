"""From a model's text to content: lenient with formatting, and never guessing."""

import contextlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.routing.errors import BadAnswer
from forebay.routing.jobs import Classification, Extraction, Generation, Job, Summary, parse_job
from forebay.workers.checks.answer_checks import check
from forebay.workers.prompts.json_answers import document
from forebay.workers.prompts.parsing import MAX_LEVELS, parse_answer

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}
LABELS = ["Refund", "Late delivery", "late"]


def job(kind: str, **request) -> Job:
    return parse_job({"request": {"kind": kind, **request}})


CLASSIFY = job("classify", text="t", labels=LABELS)
EXTRACT = job("extract", text="t", schema=SCHEMA)
CHAT = job("generate", messages=[{"role": "user", "content": "q"}])
FORM = job("generate", messages=[{"role": "user", "content": "q"}], schema=SCHEMA)
PATTERN = job("generate", messages=[{"role": "user", "content": "q"}], regex="a+")


@pytest.mark.parametrize(
    "text",
    [
        "Refund",
        "refund",
        " REFUND.",
        '"Refund"',
        "**refund**",
        "Label: Refund",
        "The label is refund.",
        "refund!",
        "\u201eRefund\u201c",
        "1. Refund",
        "(a) refund",
        "2) **Refund**",
        "Refund - the customer wants the money back",
        "Refund \u2014 late or not, the money is asked for",
        "Refund: the customer asks for the money.",
        "Refund (the money is asked for)",
        "Refund\n\nThe customer asks for the money.",
        "Refund, because the money is asked for.",
        "Refund. The customer asks for the money.",
        "**Label:** Refund",
        'The best label is "Refund".',
        "I would classify this as Refund.",
        "The customer asks for the money.\n\nLabel: Refund",
        '{"label": "Refund"}',
        '```json\n{"label": "refund", "reason": "money"}\n```',
        "```\nRefund\n```",
        "<think>Refund or late? Refund.</think>\nRefund",
        "\ufeffRefund",
        "- Refund",
        "[Refund]",
        "<label>Refund</label>",
        '["Refund"]',
        "Sure, the label is Refund.",
        "I think it is Refund",
        "The answer is Refund, not late.",
        "Refund (not late)",
        "\uff32efund",
    ],
)
def test_a_label_may_be_formatted_differently(text):
    assert parse_answer(CLASSIFY, text) == Classification(label="Refund")


@pytest.mark.parametrize(
    ("labels", "text", "label"),
    [
        ("+ -", "+", "+"),
        ("C C++ C#", "c#", "C#"),
        ("C C++ C#", "C++ since it says so", "C++"),
        ("A B", "(B)", "B"),
        ("A B", "b) because it fits", "B"),
        ("1 2", "2.", "2"),
        ("yes no", "Yes, because it rains", "yes"),
        ("正面 负面", "正面\uff0c因为很好", "正面"),
        ("\U0001f44d \U0001f44e", "\U0001f44d", "\U0001f44d"),
    ],
)
def test_a_label_may_be_made_of_marks(labels, text, label):
    task = job("classify", text="t", labels=labels.split())
    assert parse_answer(task, text).label == label


def test_a_number_that_may_be_the_label_is_not_taken_for_a_number_of_a_list():
    with pytest.raises(BadAnswer):
        parse_answer(job("classify", text="t", labels=["1", "2"]), "1. 2")


def test_a_label_that_contains_another_is_told_apart():
    assert parse_answer(CLASSIFY, "late").label == "late"
    assert parse_answer(CLASSIFY, "late delivery").label == "Late delivery"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Refund or late",
        "not a refund",
        "something",
        "Refunds",
        "Refund, late",
        "Refund\nlate",
        "Refund - no, late",
        "Refund. Late.",
        "Refund/late",
        "Refund? No.",
        "Refund - late",
        "Refund: no",
        "The label is not Refund",
        "Refund and late",
        "<think>Refund",
        '{"label": 1}',
        '{"a": "Refund", "b": "late"}',
        "1",
        "Refund: late",
        "It is not Refund",
        "Not: Refund",
    ],
)
def test_a_text_that_is_no_label_is_not_guessed(text):
    with pytest.raises(BadAnswer) as caught:
        parse_answer(CLASSIFY, text)
    assert "efund" not in str(caught.value)


def test_scores_of_labels_become_probabilities():
    scores = {"Refund": math.log(0.2), "Late delivery": math.log(0.1), "late": math.log(0.1)}
    content = parse_answer(CLASSIFY, "Refund", option_logprobs=scores)
    assert content.probability == pytest.approx(0.5)
    assert sum(content.scores.values()) == pytest.approx(1)


def test_scores_that_are_all_impossible_are_even():
    content = parse_answer(CLASSIFY, "late", option_logprobs=dict.fromkeys(LABELS, -math.inf))
    assert content.probability == pytest.approx(1 / 3)


@pytest.mark.parametrize("broken", LABELS)
def test_a_score_that_is_no_number_makes_no_probability_that_is_none(broken):
    scores = {**dict.fromkeys(LABELS, -1.0), broken: math.nan}
    content = parse_answer(CLASSIFY, "late", option_logprobs=scores)
    assert content == Classification.model_validate(content.model_dump())
    assert content.probability == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "text", ['{"n": 3}', ' {"n":3}\n', '```json\n{"n": 3}\n```', '```\n{"n": 3}```']
)
def test_json_may_be_in_a_code_fence(text):
    assert parse_answer(EXTRACT, text) == Extraction(data={"n": 3})


@pytest.mark.parametrize(
    "text",
    [
        'Here: {"n": 3}',
        'Here it is:\n```json\n{"n": 3}\n```',
        '```python\nprint(3)\n```\nThe JSON:\n```json\n{"n": 3}\n```\nGood?',
        '<think>{"n": 4}?</think>\n{"n": 3}',
        'It is {"n": 4}, no.\n</think>\n\n{"n": 3}',
        '{"n": 3}\n\nAnything else?',
        '\ufeff{"n": 3}',
        'A 5" disk [1] {placeholder}: {"n": 3} :-}',
        'As said, {"n": 3}; again: {"n":3}',
    ],
)
def test_json_may_stand_among_prose_and_behind_thoughts(text):
    assert parse_answer(EXTRACT, text) == Extraction(data={"n": 3})
    assert json.loads(parse_answer(FORM, text).text) == {"n": 3}


def test_thoughts_in_a_value_stay():
    text = '{"n": 3, "s": "a</think>b"}'
    assert parse_answer(EXTRACT, text).data == {"n": 3, "s": "a</think>b"}


@pytest.mark.parametrize(
    "text", ['{"n": "\\ud83d"}', '{"\\ud83d": 3}', '{"n": 1e999}', '{"n": -Infinity}']
)
def test_a_generation_in_json_that_could_not_be_written_again_is_a_bad_answer(text):
    with pytest.raises(BadAnswer):
        parse_answer(FORM, text)


@pytest.mark.parametrize("task", ["CHAT", "PATTERN", "summary", "CLASSIFY"])
def test_half_a_character_is_replaced(task):
    tasks = {"CHAT": CHAT, "PATTERN": PATTERN, "summary": job("summarize", text="t")}
    if task == "CLASSIFY":
        assert parse_answer(CLASSIFY, "Refund. \ud83d").label == "Refund"
    else:
        content = parse_answer(tasks[task], "a \ud83d b \ud83d\ude00")
        assert content.text == "a \ufffd b \U0001f600"
        assert type(content).model_validate_json(content.model_dump_json()) == content


def test_a_list_is_found_if_the_schema_asks_for_a_list():
    task = job("generate", messages=[{"role": "user", "content": "q"}], schema={"type": "array"})
    assert parse_answer(task, 'Of {"n": 3}: ["a"].').text == '["a"]'
    assert parse_answer(task, "[]").text == "[]"


def test_a_summary_in_chinese_is_cut_to_whole_sentences():
    task = job("summarize", text="t", max_words=5)
    assert parse_answer(task, "泳池今天关闭。屋顶还在漏水所以要修。").text == "泳池今天关闭。"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        '{"n": 3',
        '{"n": NaN}',
        "[" * 100_000,
        '{"n": 1} {"n": 2}',
        "{'n': 3}",
        'First {"n": 1}, then {"n": 2}',
        '{"a": {"n": 3}',
        'Here: [{"n": 3}]',
        '<think>{"n": 3}',
        '```json\n{"n": 1}\n```\n```json\n{"n": 2}\n```',
        'Here: {"n": 1e999}',
        'So {"n": Infinity}',
    ],
)
def test_a_text_that_is_no_json_object_is_a_bad_answer_that_quotes_nothing(text):
    with pytest.raises(BadAnswer) as caught:
        parse_answer(EXTRACT, text)
    assert "n" not in str(caught.value).split('"')
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "text",
    [
        '{"n": "\\ud83d"}',  # half a character: no answer with it can be stored
        f'{{"n": {"[" * 500}{"]" * 500}}}',
        '{"n": 1e999}',
        '{"n": [-1e999]}',
    ],
)
def test_json_that_could_not_be_written_again_is_a_bad_answer(text):
    with pytest.raises(BadAnswer):
        parse_answer(EXTRACT, text)


@pytest.mark.parametrize("text", ['{"n": "\\ud83d\\ude00"}', '{"n": 1e300}', '{"n": [[[3.50]]]}'])
def test_every_answer_that_is_read_can_be_stored(text):
    content = parse_answer(EXTRACT, text)
    assert Extraction.model_validate_json(content.model_dump_json()) == content


def test_a_generation_with_a_schema_is_json_text():
    assert parse_answer(FORM, '```json\n{"n": 3}\n```') == Generation(text='{"n": 3}')
    with pytest.raises(BadAnswer):
        parse_answer(FORM, "three")


def test_a_generation_keeps_its_fences_if_no_form_was_asked():
    assert parse_answer(CHAT, "```python\n1\n```\n").text == "```python\n1\n```"
    assert parse_answer(PATTERN, "```\naaa\n```").text == "aaa"


def test_a_generation_says_that_it_was_cut_off():
    assert parse_answer(CHAT, "and then", finish="length") == Generation(
        text="and then", finish="length"
    )


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("Rain fell. It stopped.", "Rain fell. It stopped."),
        ("Here is a summary of the text:\n\nRain fell.", "Rain fell."),
        ("Summary: Rain fell.", "Rain fell."),
        ('"Rain fell."', "Rain fell."),
        ('"Rain" and "sun".', '"Rain" and "sun".'),
        ("Rain fell on us. Then came the sun and more.", "Rain fell on us."),
        ("Prices rose 6.1 percent. So what.", "Prices rose 6.1 percent. So what."),
        (
            "One sentence that is longer than was task for",
            "One sentence that is longer than was task for",
        ),
    ],
)
def test_a_summary_loses_its_opening_line_and_keeps_whole_sentences(text, summary):
    assert parse_answer(job("summarize", text="t", max_words=7), text) == Summary(text=summary)


def test_a_summary_that_was_cut_off_loses_its_last_broken_sentence():
    task = job("summarize", text="t", max_words=20)
    assert parse_answer(task, "It rained. Then the", finish="length").text == "It rained."
    assert parse_answer(task, "It rained. Then it", finish="stop").text == "It rained. Then it"
    assert parse_answer(task, "It rained and", finish="length").text == "It rained and"


def test_no_text_answers_an_embed_job():
    with pytest.raises(BadAnswer):
        parse_answer(job("embed", texts=["a"]), "0.1")


@given(st.sampled_from([CLASSIFY, EXTRACT, CHAT, FORM, PATTERN]), st.text())
def test_any_text_is_content_of_the_jobs_kind_or_a_bad_answer(task, text):
    try:
        assert parse_answer(task, text).kind == task.kind
    except BadAnswer as error:
        assert error.message in {  # noqa: PT017 - a bad answer is one of two good outcomes
            "the answer is none of the labels",
            "the answer is not JSON",
            "the answer is not a JSON object",
        }


@pytest.mark.slow
@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "unit", [" ", "\n", "\t", "\u3002", "` ", "x.", "{", '{"a":[', "</think>", "```\na\n"]
)
@pytest.mark.parametrize("start", ["", "```\n", "Here is: ", "{", '["', "<think>"])
def test_a_long_text_is_parsed_in_linear_time(start, unit):
    text = start + unit * (120_000 // len(unit))  # an algorithm that takes the square takes minutes
    for task in (CLASSIFY, EXTRACT, FORM, PATTERN, job("summarize", text="a text")):
        with contextlib.suppress(BadAnswer):
            assert check(task, parse_answer(task, text))


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ('{"a": [1, 2,], }', {"a": [1, 2]}),
        ('{"a": "two\nlines\tand a tab"}', {"a": "two\nlines\tand a tab"}),
        ('Here:\n```json\n{"a": "x, }",\n}\n```', {"a": "x, }"}),
    ],
)
def test_slips_that_leave_no_doubt_about_the_document_are_mended(text, data):
    found = document(text)
    assert (found.data, json.loads(found.text)) == (data, data)


@pytest.mark.parametrize("text", ['{"a": 1,,}', "{,}", '{"a": 1 "b": 2}', "[1, 2,, 3]"])
def test_other_slips_are_no_json(text):
    with pytest.raises(BadAnswer):
        document(text)


def test_an_extraction_has_no_more_levels_than_can_be_read_again():
    def nested(levels):
        return '{"a":' * (levels - 1) + "1" + "}" * (levels - 1)

    content = parse_answer(EXTRACT, nested(MAX_LEVELS))
    assert Extraction.model_validate_json(content.model_dump_json()) == content
    for levels in (MAX_LEVELS + 1, 250, 900):
        with pytest.raises(BadAnswer):
            parse_answer(EXTRACT, nested(levels))


@pytest.mark.parametrize(
    "text", ['{"n": 1, "n": 2}', '{"a": [{"n": 1, "n": 1}]}', '{"n": 1, "\\u006e": 2}']
)
def test_an_object_with_a_name_twice_has_two_readings_and_is_no_answer(text):
    for asked in (EXTRACT, FORM):
        with pytest.raises(BadAnswer):
            parse_answer(asked, text)
    checks = check(FORM, Generation(text=text, finish="stop"))
    assert "schema" in {each.name for each in checks if not each.passed}
