"""One conformance suite over every engine, in the process and hosted.

Without a GPU exl2 and exl3 run over generators which follow a script; with one, `make test-gpu`
runs the same over the libraries themselves and the model in FOREBAY_MODEL_DIR.
"""

from __future__ import annotations

import json
import logging
import math
import re
import time
import uuid

import pytest
from jsonschema import Draft202012Validator

from forebay.routing.errors import CallerError, EngineDied, ForebayError, InvalidJob, TooLong
from forebay.workers.engines.engine import Choice, Completion, JsonSchema, Pattern, Prompt, Turn
from forebay.workers.engines.host.child import make_engine
from forebay.workers.engines.host.supervisor import open_engine
from forebay.workers.engines.settings import EngineSettings
from patience import until
from scripted import exl2_engine, exl3_engine
from tinymodel import write_folder

SCRIPTED = {"scripted exl2": exl2_engine, "scripted exl3": exl3_engine}
KINDS = (
    "echo", "llamacpp", "hosted echo", "hosted llamacpp", *SCRIPTED,
    pytest.param("exl2", marks=pytest.mark.gpu), pytest.param("hosted exl2", marks=pytest.mark.gpu),
    pytest.param("exl3", marks=pytest.mark.gpu),
)  # fmt: skip
CANARY = "zebrafinch"
CONTEXT = 256
INVOICE = {
    "type": "object",
    "properties": {
        "number": {"type": "integer", "minimum": 1},
        "vendor": {"type": "string", "maxLength": 20},
    },
    "required": ["number", "vendor"],
    "additionalProperties": False,
}
#: Set-like arrays are beyond a token mask; a schema that needs one must be refused, not ignored.
UNIQUE = {
    "type": "object",
    "properties": {
        "all": {"type": "array", "uniqueItems": True, "items": {"enum": [1]}, "minItems": 2}
    },
    "required": ["all"],
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("model") / "tiny")


def start(kind, folder):
    if kind in SCRIPTED:
        return SCRIPTED[kind](folder, slots=2, context=CONTEXT)[0]
    settings = EngineSettings(
        engine=kind.removeprefix("hosted "), slots=2, context_tokens=CONTEXT, hang_s=30
    )
    return (open_engine if "hosted" in kind else make_engine)(settings)


@pytest.fixture(scope="session")
def engines(folder):
    opened = {}

    def open_once(kind):
        if kind not in opened:
            opened[kind] = start(kind, folder)
        return opened[kind]

    yield open_once
    for engine in opened.values():
        engine.close()


@pytest.fixture(params=KINDS)
def engine(request, engines):
    return engines(request.param)


@pytest.fixture(params=KINDS)
def fresh(request, folder):
    engine = start(request.param, folder)
    yield engine
    engine.close()


def prompt(text, **changes):
    fields = {"id": uuid.uuid4().hex, "max_tokens": 8, **changes}
    return Prompt(messages=(Turn(role="user", content=text),), **fields)


def long_prompt(**changes):
    """Some seconds of work for any engine; echo needs telling, a model takes its time."""
    story = "Write a very long story about a river. [[echo: delay=0.2]]" + " and on" * 20
    return prompt(story, **{"max_tokens": 400, **changes})


def ask(engine, one):
    return engine.submit(one).result(30)


def test_info_is_complete_and_does_not_change(engine):
    info = engine.info()
    assert info == engine.info()
    assert info.slots == 2
    assert info.context_tokens == CONTEXT
    assert len(info.revision) == 12
    assert int(info.revision, 16) >= 0
    assert info.embed_dimensions


def test_concurrent_requests_are_all_answered_under_their_own_ids(engine):
    prompts = [prompt(f"Say {number}.") for number in range(6)]
    futures = [engine.submit(one) for one in prompts]
    answers = [future.result(60) for future in futures]
    assert [answer.id for answer in answers] == [one.id for one in prompts]
    assert all(answer.text and answer.tokens_in > 0 for answer in answers)


def test_max_tokens_is_a_hard_limit_and_says_so(engine):
    answer = ask(engine, prompt("Tell me about the sea, in many words, please.", max_tokens=3))
    assert answer.finish == "length"
    assert answer.tokens_out == 3


def test_an_answer_that_ends_by_itself_says_stop(engine):
    answer = ask(engine, prompt("yes or no?", constraint=Choice(options=("yes", "no"))))
    assert answer.finish == "stop"
    assert answer.text in {"yes", "no"}


def test_timings_and_probabilities_are_plausible(engine):
    answer = ask(engine, prompt("Tell me about the sea.", max_tokens=4))
    assert answer.min_logprob <= answer.mean_logprob <= 0
    assert min(answer.queued_s, answer.prefill_s, answer.decode_s) >= 0


def test_the_same_prompt_gives_the_same_text_at_temperature_zero(engine):
    texts = {ask(engine, prompt("Name a colour of the sky.")).text for _ in range(2)}
    assert len(texts) == 1


def test_a_prompt_longer_than_the_context_is_too_long(engine):
    with pytest.raises(TooLong) as caught:
        ask(engine, prompt("word " * (CONTEXT + 1)))
    assert caught.value.field == "messages"


def test_the_context_also_ends_an_answer(engine):
    text = "[[echo: say=" + "a " * 40 + "]] " + "word " * 120
    answer = ask(engine, prompt(text, max_tokens=5_000, constraint=None))
    assert answer.tokens_in + answer.tokens_out <= CONTEXT


@pytest.mark.parametrize("options", [("red", "blue"), ('say "x"', "a/b\n", "ü\\"), ("a",)])
def test_a_choice_is_one_of_its_options_exactly(engine, options):
    answer = ask(engine, prompt("Choose.", max_tokens=30, constraint=Choice(options=options)))
    assert answer.text in options


def test_scores_of_options_are_probabilities_and_the_text_is_the_best(engine):
    choice = Choice(options=("pay", "pay back", "refund"))
    one = prompt("My money, please. What do I want?", constraint=choice, score_options=True)
    answer = ask(engine, one)
    scores = answer.option_logprobs
    assert scores.keys() == set(choice.options)
    assert sum(map(math.exp, scores.values())) == pytest.approx(1)
    assert answer.text == max(scores, key=scores.get)


def test_a_json_answer_validates(engine):
    shape = JsonSchema(schema_=INVOICE)
    answer = ask(engine, prompt("Invoice 33 of ACME.", max_tokens=80, constraint=shape))
    assert answer.finish == "stop"
    Draft202012Validator(INVOICE).validate(json.loads(answer.text))


@pytest.mark.parametrize(
    ("constraint", "field"),
    [
        (JsonSchema(schema_=UNIQUE), "schema"),
        (Pattern(regex=r"(a|b)\1"), "regex"),
        (Pattern(regex=r"[a-z&&b]"), "regex"),
    ],
)
def test_a_constraint_that_cannot_be_held_is_refused(engine, constraint, field):
    with pytest.raises(InvalidJob) as caught:
        ask(engine, prompt("Answer.", constraint=constraint))
    assert caught.value.field == field


@pytest.mark.parametrize("regex", [r"[A-Z]{3}-\d{2}", r"^(yes|no)/\d$", r"a\/b", "é\nz"])
def test_a_pattern_is_matched_as_a_whole_or_refused(engine, regex):
    outcome = outcome_of(engine, prompt("A code.", max_tokens=30, constraint=Pattern(regex=regex)))
    if engine.info().engine == "echo":
        assert isinstance(outcome, InvalidJob)
        assert outcome.field == "regex"
    else:
        assert re.fullmatch(regex, outcome.text)


def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(engine):
    answer = ask(engine, prompt("one two three four", max_tokens=60, stop=("e",)))
    assert "e" not in answer.text


def test_cancelling_a_running_request_gives_what_there_is(engine):
    one, before = long_prompt(), engine.steps()
    future = engine.submit(one)
    until(lambda: engine.steps() > before + 5, within_s=30)  # the prompt is read, and a few words
    cancelled_at = time.monotonic()
    engine.cancel(one.id)
    answer = future.result(10)
    assert answer.finish == "cancelled"
    assert time.monotonic() - cancelled_at < 5
    assert 0 < answer.tokens_out < 400


def test_cancelling_a_waiting_request_ends_it_at_once(engine):
    running = [long_prompt() for _ in range(2)]
    futures = [engine.submit(one) for one in running]
    time.sleep(0.1)
    waiting = prompt("Hello.")
    future = engine.submit(waiting)
    engine.cancel(waiting.id)
    assert future.result(5).finish == "cancelled"
    for one in running:
        engine.cancel(one.id)
    assert {future.result(10).finish for future in futures} == {"cancelled"}


def test_cancelling_an_unknown_id_does_nothing(engine):
    engine.cancel("nobody")
    assert ask(engine, prompt("Hello.")).text


def test_a_deadline_ends_a_running_request(engine):
    answer = engine.submit(long_prompt(deadline=time.time() + 0.5)).result(10)
    assert answer.finish == "deadline"


def test_a_deadline_that_has_passed_costs_no_token(engine):
    answer = engine.submit(prompt("Hello.", deadline=time.time() - 1)).result(10)
    assert (answer.finish, answer.tokens_out) == ("deadline", 0)


def test_an_id_in_flight_cannot_be_used_twice(engine):
    one = long_prompt()
    first = engine.submit(one)
    with pytest.raises(InvalidJob):
        engine.submit(one).result(10)
    engine.cancel(one.id)
    assert first.result(10).id == one.id


def test_embeddings_have_unit_length_and_are_deterministic(engine):
    texts = ["A river.", "Ein Fluss.", "", "word " * 500]
    first, second = engine.embed(texts), engine.embed(texts)
    assert first == second
    assert len(first.vectors) == len(texts)
    assert first.tokens_in > 0
    for vector in first.vectors:
        assert len(vector) == engine.info().embed_dimensions
        assert math.hypot(*vector) == pytest.approx(1, abs=1e-5)
    assert first.vectors[0] != first.vectors[1]


def test_steps_count_up_with_work(engine):
    before = engine.steps()
    ask(engine, prompt("Hello there."))
    engine.embed(["a"])
    give_up = time.monotonic() + 5
    while engine.steps() <= before and time.monotonic() < give_up:
        time.sleep(0.05)
    assert engine.steps() > before


def test_close_fails_what_is_in_flight_and_can_be_repeated(fresh):
    futures = [fresh.submit(long_prompt()) for _ in range(4)]
    time.sleep(0.2)
    fresh.close()
    assert {type(future.exception(10)) for future in futures} == {EngineDied}
    fresh.close()
    assert isinstance(fresh.submit(prompt("Hello.")).exception(10), EngineDied)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_a_prompt_is_printed_logged_or_in_an_error(kind, folder, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    bad_schema = UNIQUE | {"title": CANARY, "not": {"const": CANARY}}
    prompts = [
        prompt(f"Hello {CANARY}."),
        prompt(CANARY * CONTEXT * 4),
        prompt(f"{CANARY} [[echo: {CANARY}]]"),
        prompt("x", constraint=Choice(options=(CANARY, f"{CANARY} 2")), score_options=True),
        prompt("x", constraint=JsonSchema(schema_=bad_schema)),
        prompt("x", constraint=Pattern(regex=rf"({CANARY})\1")),
        prompt(f"{CANARY} [[echo: fail]]"),
    ]
    engine = start(kind, folder)
    outcomes = [outcome_of(engine, one) for one in prompts]
    engine.close()
    spoken = [repr(one) for one in [*prompts, *outcomes]]
    spoken += [str(one) for one in outcomes if isinstance(one, ForebayError)]
    assert CANARY not in "".join([*capfd.readouterr(), caplog.text, *spoken])
    assert any(isinstance(outcome, Completion) for outcome in outcomes)
    assert any(isinstance(outcome, CallerError) for outcome in outcomes)


def outcome_of(engine, one):
    try:
        return ask(engine, one)
    except ForebayError as error:
        return error
