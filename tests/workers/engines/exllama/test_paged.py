"""The paged engine: batches, pages, texts, scores; over both scripted libraries."""

from __future__ import annotations

import itertools
import math
import random
import threading
import time
from concurrent.futures import wait

import numpy as np
import pytest

from forebay.routing.errors import EngineBusy, EngineDied, ForebayError, InvalidJob, TooLong
from forebay.workers.engines.engine import Choice, Completion, JsonSchema, Prompt, Turn
from forebay.workers.engines.exllama.backend import log_softmax
from forebay.workers.engines.exllama.model_folder import language_of
from forebay.workers.engines.vram.footprint import CHUNK, PAGE
from patience import until
from scripted import exl2_engine, exl3_engine
from tinymodel import ANSWER, STORY, Rule, write_folder

pytestmark = [pytest.mark.slow, pytest.mark.no_cover]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(params=[exl2_engine, exl3_engine], ids=["exl2", "exl3"])
def opened(request, folder):
    engines = []

    def build(**sizes):
        engine, generator = request.param(folder, **sizes)
        engines.append(engine)
        return engine, generator

    yield build
    for engine in engines:
        engine.close()


def prompt(name, text="Tell me about the sea.", **changes):
    fields = {"max_tokens": 60, **changes}
    return Prompt(id=str(name), messages=(Turn(role="user", content=text),), **fields)


def ask(engine, one):
    return engine.submit(one).result(20)


def encoded(folder, one):
    language = language_of(folder)
    return language.vocabulary.encode(language.template.render(one.messages))


def test_the_text_is_the_whole_text_of_the_model(opened):
    engine, _ = opened()
    answer = ask(engine, prompt("a"))
    assert (answer.text, answer.finish) == (ANSWER, "stop")


def test_pages_that_requests_hold_are_told(opened):
    engine, _ = opened()
    free = engine.pages()
    assert (free.used, free.total) == (0, engine.backend.pages)
    held = []
    look = lambda *_text: held.append(engine.pages().used)  # noqa: E731 - while the text is made
    engine.submit(prompt("a", STORY, stream=True), look).result(20)
    assert max(held) > 0
    until(lambda: engine.pages().used == 0)


def test_text_held_for_a_stop_string_that_never_came_is_not_lost(opened):
    engine, _ = opened()
    answer = ask(engine, prompt("a", stop=(ANSWER[-1] + "!!",)))
    assert (answer.text, answer.finish) == (ANSWER, "stop")


def test_a_stop_string_cuts_the_text_where_it_begins(opened):
    engine, _ = opened()
    answer = ask(engine, prompt("a", stop=("deep", "nobody")))
    assert (answer.text, answer.finish) == (ANSWER[: ANSWER.index("deep")], "stop")


def test_a_text_cut_within_a_character_ends_before_it(opened, folder):
    engine, _ = opened()
    most = len(encoded(folder, prompt("a", ANSWER))) - len(encoded(folder, prompt("a", "")))
    texts = {ask(engine, prompt(at, max_tokens=at)).text for at in range(1, most + 1)}
    assert not any("\ufffd" in text for text in texts)
    assert all(ANSWER.startswith(text) for text in texts)
    assert {ANSWER, ANSWER[:-1]} <= texts


def test_probabilities_are_the_models_own_and_padding_counts_for_nothing(opened, folder):
    engine, _ = opened()
    rule, tokens, made, expected = Rule(folder), encoded(folder, prompt("a")), [], []
    for count in range(1, 6):
        logprobs = log_softmax(rule.logits([*tokens, *made]), rule.size)
        made.append(int(logprobs.argmax()))
        expected.append(float(logprobs.max()))
        # Of so few tokens the 10 % quantile is the lowest.
        low = ask(engine, prompt("a", max_tokens=count)).low_logprob
        assert low == pytest.approx(min(expected), abs=1e-4)


def test_probabilities_under_a_constraint_are_still_the_models_own(opened, folder):
    engine, _ = opened()
    one = prompt("a", constraint=Choice(options=("red",)))
    rule, tokens = Rule(folder), encoded(folder, one)
    answer = ask(engine, one)
    first = rule.tokenizer.encode("red").ids[0]
    # What was forced was not likely, and the masked rest does not make it so.
    assert answer.low_logprob <= log_softmax(rule.logits(tokens), rule.size)[first] + 1e-4


@pytest.mark.parametrize(
    "options", [("yes", "no"), ("pay", "pay back", "refund"), ("a", "aa", "aaa"), ("red",)]
)
def test_scores_are_the_chances_of_a_model_held_to_the_options(opened, folder, options):
    engine, _ = opened()
    one = prompt("a", constraint=Choice(options=options), score_options=True)
    answer = ask(engine, one)
    expected = chances(folder, one, options)
    for option in options:
        assert answer.option_logprobs[option] == pytest.approx(expected[option], abs=0.02)
    assert answer.text == max(expected, key=expected.get)


def chances(folder, one, options):
    """Compute the chances by brute force, token by token, from the logits of the model."""
    rule, vocabulary = Rule(folder), language_of(folder).vocabulary
    text = language_of(folder).template.render(one.messages)
    tokens = vocabulary.encode(text)
    found = dict.fromkeys(options, 0.0)
    led = [(option, lead + option) for option, lead in itertools.product(options, ("", " "))]
    paths = vocabulary.continuations(text, [one for _, one in led])
    ways = [(option, path) for (option, _), path in zip(led, paths, strict=True)]

    def descend(made, left, share):
        if share == 0 or len({option for option, _ in left}) == 1:
            found[left[0][0]] += share
            return
        probabilities = np.exp(log_softmax(rule.logits([*tokens, *made]), rule.size))
        groups = {}
        for option, rest in left:
            groups.setdefault(rest[0] if rest else None, []).append((option, rest[1:]))
        weights = {
            key: probabilities[list(rule.ends)].sum() if key is None else probabilities[key]
            for key in groups
        }
        for key, group in groups.items():
            onward = made if key is None else [*made, key]
            descend(onward, group, share * weights[key] / sum(weights.values()))

    descend([], ways, 1.0)
    return {option: math.log(max(share, 1e-30)) for option, share in found.items()}


def test_a_seed_repeats_and_temperature_varies(opened):
    engine, _ = opened()
    story = {"text": f"A {STORY}.", "temperature": 1.5, "max_tokens": 12}
    texts = [ask(engine, prompt(seed, seed=seed, **story)).text for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_as_many_run_at_once_as_there_are_slots_and_pages_for(opened):
    engine, generator = opened(slots=8, context=2 * PAGE, pages=5)
    iterate, left = generator.iterate, []

    def watched():
        results = iterate()
        left.append(len(generator.pending_jobs))
        return results

    generator.iterate = watched
    futures = [engine.submit(prompt(at, max_tokens=PAGE)) for at in range(6)]
    assert all(future.result(20).text == ANSWER for future in futures)
    assert generator.most == 2  # two pages each
    assert not any(left)  # the line is ours, where the best is first, and not the library's
    assert len(generator.unreferenced_pages) == 5


def test_no_more_than_two_long_prompts_are_read_in_one_step(opened):
    engine, generator = opened(slots=5, context=2 * CHUNK, pages=64)
    iterate, read, go = generator.iterate, [], threading.Event()

    def watched():
        assert go.wait(20)
        results = iterate()
        read.append(sum(result["stage"] == "prefill" for result in results))
        return results

    generator.iterate = watched
    engine.submit(prompt("first"))  # the loop stands still in its step until the others are ready
    until(lambda: "first" in engine._paged._runs)
    long = " word" * (CHUNK + 10)
    futures = [engine.submit(prompt(at, long, max_tokens=4)) for at in range(4)]
    until(lambda: len(engine._paged._prepared) == len(futures))
    go.set()
    assert not wait(futures, 20).not_done
    assert max(read) == 2


def test_a_request_that_waits_keeps_its_own_words_when_its_id_is_used_again(opened):
    engine, _ = opened(slots=1)
    first = engine.submit(prompt("long", f"A {STORY}."))
    waiting = engine.submit(prompt("a", constraint=Choice(options=("red",))))
    again = engine.submit(prompt("a", constraint=Choice(options=("blue",))))
    assert isinstance(again.exception(5), InvalidJob)
    engine.cancel("long")
    assert first.result(5).finish == "cancelled"
    assert waiting.result(5).text == "red"


def test_what_is_prepared_for_one_request_is_never_used_for_another(opened):
    engine, _ = opened(slots=1)
    engine.submit(prompt("long", f"A {STORY}."))
    waiting = engine.submit(prompt("a", constraint=Choice(options=("red",))))
    engine._paged.prepare(prompt("a", constraint=Choice(options=("blue",))))
    engine.cancel("long")
    assert waiting.result(5).text == "red"


def test_a_grammar_that_takes_long_to_compile_holds_up_nobody(opened):
    engine, _ = opened()
    compiled, goes_on = engine.language.masks.matcher, threading.Event()
    engine.language.masks.matcher = lambda *given, **more: (
        goes_on.wait(10) and compiled(*given, **more)
    )
    held = [engine.submit(prompt(name, constraint=Choice(options=("red",)))) for name in "ab"]
    engine.cancel("a")
    assert held[0].result(1).finish == "cancelled"
    assert not held[1].done()
    goes_on.set()
    assert held[1].result(5).text == "red"


def test_a_text_that_left_its_grammar_is_no_answer(opened):
    engine, generator = opened()
    pick = generator._pick
    wrong = generator.rule.tokenizer.encode("Q").ids
    generator._pick = lambda job, row: wrong.pop() if wrong else pick(job, row)
    with pytest.raises(InvalidJob) as caught:
        ask(engine, prompt("a", constraint=Choice(options=("red", "blue"))))
    assert caught.value.field == "labels"
    assert ask(engine, prompt("b")).text == ANSWER


def test_a_broken_step_fails_all_and_says_nothing_of_its_message(opened, caplog):
    engine, generator = opened()
    futures = [engine.submit(prompt(at, f"A {STORY}.")) for at in range(3)]
    generator.breaks = True
    assert {type(future.exception(5)) for future in futures} == {EngineDied}
    assert "secret" not in caplog.text


def test_a_labels_tokens_count_towards_the_context(opened):
    engine, _ = opened(context=PAGE)
    choice = Choice(options=("yes", "no" * 200))
    with pytest.raises(TooLong):
        ask(engine, prompt("a", " word" * 100, constraint=choice, score_options=True))


def test_a_thousand_requests_of_all_fates_end_once_and_leave_nothing(opened):
    engine, generator = opened(slots=8, context=PAGE, pages=12)
    fate, futures = random.Random(4), []
    for at in range(1_000):
        futures.append(engine.submit(_some(fate, at)))
        if fate.random() < 0.2:
            engine.cancel(str(fate.randrange(at + 1)))
        while len(engine._waiting) > 200:
            time.sleep(0.001)
    assert not wait(futures, 60).not_done
    kinds = {_kind(future) for future in futures}
    assert {"stop", "length", "cancelled", "deadline", TooLong, InvalidJob} <= kinds
    assert not kinds & {EngineDied, EngineBusy}
    assert len(generator.unreferenced_pages) == 12
    assert generator.num_remaining_jobs() == 0
    paged = engine._paged
    left = (
        paged._runs, paged._prepared, paged._unstarted_pages, paged._prefill_tokens, paged._ended,
    )  # fmt: skip
    assert not any(left)
    assert not paged._backend._jobs


def _some(fate, at):
    """Return a random request: short, long, constrained, scored or impossible."""
    bad = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}
    kinds = [
        {},
        {"max_tokens": 3},
        {"text": " word" * 300},
        {"constraint": JsonSchema(schema_=bad)},
        {"deadline": time.time() + fate.uniform(-0.01, 0.05)},
        {"constraint": Choice(options=("yes", "no")), "score_options": fate.random() < 0.5},
        {"stop": ("sea",), "temperature": 0.7},
    ]
    return prompt(at, priority=fate.randrange(2), **fate.choice(kinds))


def _kind(future):
    error = future.exception()
    assert error is None or isinstance(error, ForebayError)
    return type(error) if error else Completion.model_validate(future.result()).finish
