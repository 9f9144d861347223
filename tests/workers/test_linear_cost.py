"""Work on content outside of isolation takes time that is linear in the content.

That holds at the largest content that may be submitted, or that is not handed to an isolated
process. Each unit below is repeated to make a content that one of the functions might stumble over.
"""

from __future__ import annotations

from contextlib import suppress

import pytest

from forebay.routing.base import MAX_TEXT
from forebay.routing.errors import BadAnswer
from forebay.routing.jobs import (
    Classify,
    Extract,
    Extraction,
    Generate,
    Generation,
    Job,
    Label,
    Message,
    Summarize,
    Summary,
)
from forebay.routing.policy.secret_scanner import Scanner
from forebay.routing.scoring.router_model import RouterModel
from forebay.workers.checks import agreement, answer_checks, formats
from forebay.workers.checks.bounded import MAX_CHARS
from forebay.workers.checks.reading.normal_form import nfkc
from forebay.workers.engines.engine import EngineInfo
from forebay.workers.frontier import judge_prompt
from forebay.workers.prompts import parsing, prompts, rewording, schema_hints
from forebay.workers.prompts.bounded import MAX_ANSWER_CHARS
from growth import LINEAR, TIMES, growth

pytestmark = [pytest.mark.slow, pytest.mark.no_cover]

UNITS = {
    "words": "some words ", "one letter": "a", "spaces": " ", "lines": "\n", "digits": "1",
    "numbers": "1 ", "groups": "1,000 ", "fractions": "1/2", "dates": "12 May 2024 ",
    "short dates": "1/2/2024 ", "dates in Chinese": "2024\u5e741\u67081\u65e5", "months": "may ",
    "times": "10:30 ", "thoughts": "<think>", "ended thoughts": "</think>", "fences": "```json\n",
    "brackets": "{", "objects": "{} ", "quotes": '"', "marks of texts": "text-1 ",
    "refusals": "I'm sorry I can ", "answers": "answer: ", "sums": "=1 ", "names": "Ab ",
    "accents alone": "\u0301\u0316", "letters with accents": "e\u0301", "ligatures": "\ufb01",
    "numbers in words": "hundred ", "numbers in Chinese": "\u4e00", "links": "http://a.b/",
    "keys": "secret_access_key ", "key marks": "sk-", "tokens": "eyJ", "cards": "4111 1111 1111 ",
    "long words": "a1-", "sentences": "A. ", "Thai": "\u0e01",
}  # fmt: skip
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"}, "day": {"type": "string", "format": "date"},
        "total": {"type": "number"}, "currency": {"enum": ["EUR", "USD"]},
        "mail": {"type": "string", "format": "email"},
    },
}  # fmt: skip
ENGINE = EngineInfo(engine="echo", model="echo", revision="1", context_tokens=4_096, slots=1)
SCANNER, ROUTER_MODEL = Scanner(), RouterModel.load()
FACT = "We met Paul on 1 May 2024 at 10:30 and paid 12.50 EUR."


@pytest.fixture(params=UNITS.values(), ids=UNITS)
def unit(request):
    return request.param


def contents(unit: str, size: int) -> tuple[str, str]:
    """Return a small content and a large one."""
    return tuple((unit * (chars // len(unit) + 1))[:chars] for chars in (size // TIMES, size))


def jobs(text: str) -> list[Job]:
    chat = [Message(role="user", content=f"{text[1:]}x")]
    return [
        Job(request=request)
        for request in (
            Classify(text=text, labels=["red", "blue"]),
            Extract(text=text, schema=SCHEMA),
            Summarize(text=text),
            Generate(messages=chat),
            Generate(messages=chat, schema=SCHEMA),
            Generate(messages=chat, regex="a+"),
        )
    ]


def with_long_labels(text: str) -> Job:
    """Return a job whose labels hold this text."""
    part = text[:2_000]
    labels = [
        Label(name=f"{number} {text[:100]}x", description=part, examples=[part] * 5)
        for number in range(2, 22)
    ]
    return Job(request=Classify(text=text, labels=labels))


@pytest.mark.parametrize(
    "work",
    [
        lambda all_jobs: [prompts.frontier(job, prompt_id="a") for job in all_jobs],
        lambda all_jobs: SCANNER.find(all_jobs[0]),
        lambda all_jobs: [ROUTER_MODEL.verdict(job) for job in all_jobs],
    ],
    ids=["frontier prompt", "secret scanner", "router model"],
)
def test_content_of_any_size_is_routed_and_sent_in_linear_time(unit, work):
    small, large = map(jobs, contents(unit, MAX_TEXT))
    assert growth(work, small, large) < LINEAR


def test_labels_of_any_size_are_scanned_and_written_out_in_linear_time(unit):
    def work(job):
        SCANNER.find(job)
        prompts.frontier(job, prompt_id="a")

    small, large = map(with_long_labels, contents(unit, 2_000))
    assert growth(work, small, large) < LINEAR


def local_prompts(text: str) -> None:
    for job in jobs(text):
        prompts.local(job, ENGINE, prompt_id="a")
        rewording.reworded(job, ENGINE, prompt_id="a")


def hints(text: str) -> None:
    schema_hints.with_json_values(text, SCHEMA)
    schema_hints.narrowed(SCHEMA, text)


@pytest.mark.parametrize("work", [local_prompts, hints])
def test_local_prompts_are_built_in_linear_time(unit, work):
    assert growth(work, *contents(unit, MAX_CHARS)) < LINEAR


@pytest.mark.parametrize("job", jobs("We met."), ids=lambda job: job.kind)
def test_a_models_text_is_read_in_linear_time(unit, job):
    def read(text):
        for part in (text, f'so {{"a": "{text}'):
            with suppress(BadAnswer):
                parsing.parse_answer(job, part, finish="length")

    assert growth(read, *contents(unit, MAX_ANSWER_CHARS)) < LINEAR


def checks_of_a_text(text: str) -> None:
    """Check answers to a text, and answers that are the text."""
    _, extract, summarize, generate, *_ = jobs(text)
    answer_checks.check(summarize, Summary(text=FACT))
    answer_checks.check(summarize, Summary(text=text))
    answer_checks.check(Job(request=Summarize(text=FACT)), Summary(text=text))
    answer_checks.check(generate, Generation(text=text, finish="stop"))
    answer_checks.check(extract, Extraction(data={"name": "Paul", "day": "2024-05-01"}))
    answer_checks.check(extract, Extraction(data={"name": text, "mail": text}))
    answer_checks.check(extract, Extraction(data={"name": None, "mail": None}))
    answer_checks.check(extract, Extraction(data={"a": [{"b": text[:9]}] * 9}))
    short = Job(request=Extract(text=FACT, schema=SCHEMA))
    answer_checks.check(short, Extraction(data={"name": text, "total": 12.5}))


def comparisons(text: str) -> None:
    for one, other in ((text, f"{text}x"), (text, FACT), (f"{text} 1x", "7")):
        agreement.contents(Summary(text=one), Summary(text=other))
        agreement.contents(Extraction(data={"a": one}), Extraction(data={"a": other}))
        agreement.contents(
            Generation(text=one, finish="stop"), Generation(text=other, finish="stop")
        )


@pytest.mark.parametrize("work", [checks_of_a_text, comparisons])
def test_answers_are_checked_and_compared_in_linear_time(unit, work):
    assert growth(work, *contents(unit, MAX_CHARS)) < LINEAR


@pytest.mark.parametrize("name", sorted(formats._FORMATS))
def test_formats_are_checked_in_linear_time(name):
    for unit in (
        *UNITS.values(),
        "a.",
        "a@",
        "%41",
        "~0/",
        "{a}",
        "{a",
        "a/",
        "&",
        "1.",
        ":",
        "P1",
    ):
        texts = contents(unit, MAX_CHARS)
        assert growth(lambda text: formats._conforms(name, text), *texts) < LINEAR, unit


def test_it_is_decided_in_linear_time_if_an_audit_needs_a_judge(unit):
    job = Job(request=Generate(messages=[Message(role="user", content="x")]))

    def decide(text):
        judge_prompt.can_be_compared(job, Generation(text=text, finish="stop"))
        with suppress(BadAnswer):
            judge_prompt.yes_or_no(text)

    assert growth(decide, *contents(unit, MAX_TEXT)) < LINEAR


def test_texts_are_normalized_in_linear_time(unit):
    assert growth(nfkc, *contents(unit, MAX_TEXT)) < LINEAR
