"""One conformance suite over every engine of the table, in this process and supervised.

Without a GPU, engines that need one run over scripted backends (`SCRIPTED`). With a GPU,
`make test-gpu` runs the same tests over the libraries themselves and the model in
FOREBAY_MODEL_DIR.
"""

from __future__ import annotations

import json
import logging
import math
import re
import threading
import time
import uuid

import pytest
from jsonschema import Draft202012Validator

from forebay.routing.errors import CallerError, EngineDied, ForebayError, InvalidJob, TooLong
from forebay.workers.engines.engine import (
    Branch,
    Choice,
    Completion,
    JsonSchema,
    Pattern,
    Prompt,
    Turn,
)
from forebay.workers.engines.host.child import make_engine
from forebay.workers.engines.host.supervisor import open_engine
from forebay.workers.engines.registry import ENGINES
from forebay.workers.engines.settings import EngineSettings
from model_server import shared_server
from patience import until
from scripted import exl2_engine, exl3_engine, library_engine
from tinymodel import write_folder

pytestmark = pytest.mark.slow

#: An engine that needs a GPU, over a scripted backend. A new GPU engine adds its own here.
SCRIPTED = {"exl2": exl2_engine, "exl3": exl3_engine}


def kinds():
    """Yield every way in which an engine of the table is tested."""
    # The libraries' own generators need torch, but no GPU; only the run with a GPU has torch.
    for name in SCRIPTED:
        yield pytest.param(f"library {name}", marks=[pytest.mark.gpu])
    for name, entry in ENGINES.items():
        marks = [pytest.mark.gpu] if entry.needs_gpu else []
        yield pytest.param(name, marks=marks)
        if entry.model != "server":  # which takes long; the process around each engine is the same
            yield pytest.param(f"supervised {name}", marks=marks)
        if entry.needs_gpu:
            yield pytest.param(f"scripted {name}")


KINDS = tuple(kinds())
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
#: A token mask cannot enforce unique items; such a schema must be refused, not ignored.
UNIQUE = {
    "type": "object",
    "properties": {
        "all": {"type": "array", "uniqueItems": True, "items": {"enum": [1]}, "minItems": 2}
    },
    "required": ["all"],
}


UNENFORCEABLE = {
    "uniqueItems": {
        "type": "array",
        "items": {"type": "integer"},
        "uniqueItems": True,
        "maxItems": 3,
    },
    "pattern": {"type": "string", "pattern": r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"},
    "format": {"type": "string", "format": "uri", "maxLength": 30},
    "bounds": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "not": {"type": "boolean", "not": {"const": 1}},
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("model") / "tiny")


def start(kind, folder):
    name = kind.split()[-1]
    if kind.startswith("library"):
        return library_engine(folder, name, slots=2, context=CONTEXT)[0]
    if kind.startswith("scripted"):
        return SCRIPTED[name](folder, slots=2, context=CONTEXT)[0]
    url = shared_server(CONTEXT, 4) if ENGINES[name].model == "server" else None
    settings = EngineSettings(
        engine=name, slots=2, context_tokens=CONTEXT, hang_s=30, openai_url=url
    )
    return (open_engine if kind.startswith("supervised") else make_engine)(settings)


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
def kind(request):
    return request.param


@pytest.fixture
def engine(kind, engines):
    return engines(kind)


@pytest.fixture
def fresh(kind, folder):
    engine = start(kind, folder)
    yield engine
    engine.close()


def prompt(text, **changes):
    fields = {"id": uuid.uuid4().hex, "max_tokens": 8, **changes}
    return Prompt(messages=(Turn(role="user", content=text),), **fields)


def long_prompt(**changes):
    """Some seconds of work for any engine; the echo engine needs a directive for that."""
    story = "Write a very long story about a river. [[echo: delay=0.2]]" + " and on" * 20
    return prompt(story, **{"max_tokens": 400, **changes})


def ask(engine, request):
    return engine.submit(request).result(30)


def test_every_engine_that_needs_a_gpu_has_a_scripted_backend():
    assert SCRIPTED.keys() == {name for name, entry in ENGINES.items() if entry.needs_gpu}


def test_info_is_complete_and_does_not_change(engine, kind):
    info = engine.info()
    assert info == engine.info()
    assert info.engine == kind.split()[-1]
    assert info.slots == 2
    assert info.context_tokens == CONTEXT
    assert len(info.revision) == 12
    assert int(info.revision, 16) >= 0
    assert info.embed_model
    assert len(info.embed_revision) == 12


def test_concurrent_requests_are_all_answered_under_their_own_ids(engine):
    prompts = [prompt(f"Say {number}.") for number in range(6)]
    futures = [engine.submit(request) for request in prompts]
    answers = [future.result(60) for future in futures]
    assert [answer.id for answer in answers] == [request.id for request in prompts]
    assert all(answer.text and answer.tokens_in > 0 for answer in answers)


def test_max_tokens_is_a_hard_limit_and_the_answer_says_so(engine):
    answer = ask(engine, prompt("Tell me about the sea, in many words, please.", max_tokens=3))
    assert answer.finish == "length"
    assert answer.tokens_out == 3


def test_an_answer_that_ends_by_itself_says_stop(engine):
    answer = ask(engine, prompt("yes or no?", constraint=Choice(options=("yes", "no"))))
    assert answer.finish == "stop"
    assert answer.text in {"yes", "no"}


def into(pieces):
    return lambda text, _tokens=(): pieces.append(text)


def test_a_stream_is_the_beginning_of_the_text_in_order(engine):
    pieces = []
    request = prompt("Tell me about the sea and the sky.", max_tokens=6, stream=True)
    answer = engine.submit(request, into(pieces)).result(30)
    assert len(pieces) > 1
    assert answer.text.startswith("".join(pieces))


def test_nothing_is_streamed_that_was_not_asked_for(engine):
    pieces = []
    assert engine.submit(prompt("Tell me about the sea."), into(pieces)).result(30).text
    assert pieces == []


def test_timings_and_probabilities_are_plausible(engine):
    answer = ask(engine, prompt("Tell me about the sea.", max_tokens=4))
    assert answer.low_logprob <= 0
    assert min(answer.queued_s, answer.prefill_s, answer.decode_s) >= 0


def test_the_same_prompt_gives_the_same_text_at_temperature_zero(engine):
    texts = {ask(engine, prompt("Name a colour of the sky.")).text for _ in range(2)}
    assert len(texts) == 1


def test_a_prompt_longer_than_the_context_is_too_long(engine):
    text = "word " * (CONTEXT + 1)
    with pytest.raises(TooLong) as caught:
        ask(engine, prompt(text))
    assert caught.value.field == "messages"
    sizes = re.search(r"(\d+) tokens: the prompt has (\d+) tokens \((\d+)", caught.value.message)
    limit, tokens, chars = map(int, sizes.groups())
    assert limit <= tokens
    assert chars == len(text)


def test_the_context_also_ends_an_answer(engine):
    text = "[[echo: say=" + "a " * 40 + "]] " + "word " * 120
    answer = ask(engine, prompt(text, max_tokens=5_000, constraint=None))
    assert answer.tokens_in + answer.tokens_out <= CONTEXT


@pytest.mark.parametrize("options", [("red", "blue"), ('say "x"', "a/b\n", "ü\\"), ("a",)])
def test_a_choice_is_one_of_its_options_exactly(engine, options):
    answer = ask(engine, prompt("Choose.", max_tokens=30, constraint=Choice(options=options)))
    assert answer.text in options


def test_prompts_that_are_submitted_together_end_one_by_one(engine):
    many = [prompt(f"the number {number}", max_tokens=4) for number in range(6)]
    ends, all_ended = {}, threading.Event()

    def take(prompt_id, end):
        ends[prompt_id] = end
        if len(ends) == len(many):
            all_ended.set()

    engine.submit_all(many, take)
    assert all_ended.wait(60)
    assert {prompt_id: end.id for prompt_id, end in ends.items()} == {
        each.id: each.id for each in many
    }


def test_scores_of_options_are_probabilities_and_the_text_is_the_best(engine):
    choice = Choice(options=("pay", "pay back", "refund"))
    text = "My money, please. What do I want?"
    answer = ask(engine, prompt(text, constraint=choice, score_options=True))
    scores = answer.option_logprobs
    assert scores.keys() == set(choice.options)
    assert sum(map(math.exp, scores.values())) == pytest.approx(1)
    assert answer.text == max(scores, key=scores.get)


BRANCHES = (
    Branch(text=" Question: is it warm?\nAnswer:", options=("yes", "no")),
    Branch(text=" Question: which one?\nAnswer:", options=("red", "green", "blue")),
    Branch(text=" Question: how much?\nAnswer:", options=("1", "2", "3", "10")),
)


def test_branches_are_scored_as_if_each_was_asked_alone(engine):
    text = "The sea is green and warm today."
    together = ask(engine, prompt(text, branches=BRANCHES))
    assert (together.finish, together.text) == ("stop", "")
    assert together.tokens_in > 0
    for branch, scores in zip(BRANCHES, together.branch_logprobs, strict=True):
        choice = Choice(options=branch.options)
        alone = ask(engine, prompt(text + branch.text, constraint=choice, score_options=True))
        assert scores == pytest.approx(alone.option_logprobs, abs=0.1)
        assert sum(map(math.exp, scores.values())) == pytest.approx(1, abs=1e-3)


def test_prompts_with_more_branches_than_slots_are_all_answered(engine):
    many = prompt("It is late.", branches=BRANCHES * 3)
    futures = [engine.submit(many.model_copy(update={"id": uuid.uuid4().hex})) for _ in range(3)]
    for future in futures:
        assert len(future.result(60).branch_logprobs) == 3 * len(BRANCHES)


def test_a_branch_that_is_too_long_or_no_choice_ends_the_whole(engine):
    long = Branch(text=" word" * CONTEXT, options=("yes", "no"))
    with pytest.raises(TooLong):
        ask(engine, prompt("Hello", branches=(*BRANCHES, long)))
    assert ask(engine, prompt("Hello", branches=BRANCHES)).branch_logprobs


def test_branches_can_be_cancelled_and_have_a_deadline(engine):
    late = ask(engine, prompt("Hello", branches=BRANCHES, deadline=time.time() - 1))
    assert (late.finish, late.branch_logprobs) == ("deadline", None)
    request = prompt("Hello [[echo: delay=0.2]]", branches=BRANCHES * 20)
    future = engine.submit(request)
    engine.cancel(request.id)
    assert future.result(60).finish == "cancelled"


def test_a_json_answer_validates(engine):
    schema = JsonSchema(schema_=INVOICE)
    answer = ask(engine, prompt("Invoice 33 of ACME.", max_tokens=80, constraint=schema))
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
def test_a_constraint_that_cannot_be_enforced_is_refused(engine, constraint, field):
    with pytest.raises(InvalidJob) as caught:
        ask(engine, prompt("Answer.", constraint=constraint))
    assert caught.value.field == field
    assert ": " in caught.value.message or engine.info().engine == "echo"


@pytest.mark.parametrize("keyword", UNENFORCEABLE)
def test_the_best_effort_enforces_the_rest_of_a_schema(engine, keyword):
    schema = {
        "type": "object",
        "properties": {"all": UNENFORCEABLE[keyword]},
        "required": ["all"],
        "additionalProperties": False,
    }
    asked = prompt("Answer.", max_tokens=80, constraint=JsonSchema(schema_=schema))
    answer = ask(engine, asked.model_copy(update={"best_effort": True}))
    if answer.finish == "stop":
        assert json.loads(answer.text).keys() == {"all"}


@pytest.mark.parametrize("regex", [r"[A-Z]{3}-\d{2}", r"^(yes|no)/\d$", r"a\/b", "é\nz"])
def test_a_pattern_is_matched_as_a_whole_or_refused(engine, regex):
    pattern = Pattern(regex=regex)
    answer = answer_or_error(engine, prompt("A code.", max_tokens=30, constraint=pattern))
    if engine.info().engine == "echo":
        assert isinstance(answer, InvalidJob)
        assert answer.field == "regex"
    else:
        assert re.fullmatch(regex, answer.text)


def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(engine):
    answer = ask(engine, prompt("one two three four", max_tokens=60, stop=("~~~", "e")))
    assert "e" not in answer.text
    if engine.info().engine != "openai":  # of the servers, vLLM alone says which it was
        assert answer.finish != "stop" or answer.stop_sequence == "e"


def test_an_answer_continues_the_assistants_last_message(engine):
    turns = (
        Turn(role="user", content="one two three four five six"),
        Turn(role="assistant", content="one two three four"),
    )
    asked = ask(engine, Prompt(id="asked", messages=turns[:1], max_tokens=2))
    begun = ask(engine, Prompt(id="begun", messages=turns, max_tokens=2))
    assert begun.text
    assert not begun.text.startswith(("assistant", "one two three four"))
    assert begun.tokens_in > asked.tokens_in, "the model has read what it is to continue"


@pytest.mark.parametrize("prefill", ["{", " {", '{"number": 1, "vendor": "a'])
def test_a_schema_holds_for_the_message_and_what_continues_it(engine, prefill):
    begun = prompt("An invoice.", max_tokens=60, constraint=JsonSchema(schema_=INVOICE))
    turns = (*begun.messages, Turn(role="assistant", content=prefill))
    begun = begun.model_copy(update={"messages": turns})
    future = engine.submit(begun)
    if error := future.exception(60):  # a server enforces whole answers, which may begin otherwise
        assert engine.info().engine == "openai"
        assert isinstance(error, InvalidJob)
        assert error.field == "messages"
        assert len(prefill) > 2, "every object begins with a brace"
        return
    answer = future.result()
    Draft202012Validator(INVOICE).validate(json.loads(prefill + answer.text))


@pytest.mark.parametrize("prefill", ["Sure: {", '{"amount": '])
def test_a_message_that_begins_nothing_of_the_schema_is_refused(engine, prefill):
    begun = prompt("An invoice.", max_tokens=60, constraint=JsonSchema(schema_=INVOICE))
    turns = (*begun.messages, Turn(role="assistant", content=prefill))
    with pytest.raises(InvalidJob) as caught:
        ask(engine, begun.model_copy(update={"messages": turns}))
    assert caught.value.field == "messages"


def test_any_of_many_stop_strings_ends_an_answer_also_between_tokens(engine):
    whole = ask(engine, prompt("Tell me about the sea.", max_tokens=8)).text
    middle = len(whole) // 2
    stop = whole[middle - 2 : middle + 2]
    others = tuple(f"{CANARY}{number}" for number in range(20))
    request = prompt("Tell me about the sea.", max_tokens=8, stop=(*others, stop))
    answer = ask(engine, request)
    assert answer.text == whole[: whole.find(stop)]
    assert answer.finish == "stop"


def test_cancelling_a_running_request_gives_the_text_so_far(engine):
    request, pieces = long_prompt(stream=True), []
    future = engine.submit(request, into(pieces))
    until(lambda: pieces, within_s=30)
    cancelled_at = time.monotonic()
    engine.cancel(request.id)
    answer = future.result(10)
    assert answer.finish == "cancelled"
    assert time.monotonic() - cancelled_at < 5
    assert 0 < answer.tokens_out < 400


def test_cancelling_a_waiting_request_ends_it_at_once(engine):
    running = [long_prompt() for _ in range(2)]
    futures = [engine.submit(request) for request in running]
    time.sleep(0.1)
    waiting = prompt("Hello.")
    future = engine.submit(waiting)
    engine.cancel(waiting.id)
    assert future.result(5).finish == "cancelled"
    for request in running:
        engine.cancel(request.id)
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
    request = long_prompt()
    first = engine.submit(request)
    with pytest.raises(InvalidJob):
        engine.submit(request).result(10)
    engine.cancel(request.id)
    assert first.result(10).id == request.id


def test_embeddings_have_unit_length_and_are_deterministic(engine):
    texts = ["A river.", "Ein Fluss.", "", "word " * 500]
    first, second = engine.embed(texts), engine.embed(texts)
    assert first == second
    assert len(first.vectors) == len(texts)
    assert first.tokens_in > 0
    assert len(set(map(len, first.vectors))) == 1
    for vector in first.vectors:
        assert len(vector) >= 64
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


def test_close_fails_the_requests_in_flight_and_can_be_repeated(fresh):
    futures = [fresh.submit(long_prompt()) for _ in range(4)]
    time.sleep(0.2)
    fresh.close()
    assert {type(future.exception(10)) for future in futures} == {EngineDied}
    fresh.close()
    assert isinstance(fresh.submit(prompt("Hello.")).exception(10), EngineDied)


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
    answers = [answer_or_error(engine, request) for request in prompts]
    engine.close()
    words = [repr(value) for value in [*prompts, *answers]]
    words += [str(answer) for answer in answers if isinstance(answer, ForebayError)]
    assert CANARY not in "".join([*capfd.readouterr(), caplog.text, *words])
    assert any(isinstance(answer, Completion) for answer in answers)
    assert any(isinstance(answer, CallerError) for answer in answers)


def answer_or_error(engine, request):
    try:
        return ask(engine, request)
    except ForebayError as error:
        return error
