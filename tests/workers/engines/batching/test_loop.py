"""The loop in front of every step-driven engine, over a generator that does as the test says."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import wait

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.routing.errors import EngineBusy, EngineDied, InvalidJob
from forebay.workers.engines.batching.generator import Step
from forebay.workers.engines.batching.loop import BatchedEngine, whereabouts
from forebay.workers.engines.engine import Completion, Prompt, Turn
from patience import until


class Scripted:
    """A generator whose sequences end after `steps` steps each, once the test opened the gate."""

    def __init__(self, slots=1, steps=1):
        self.slots = slots
        self.steps = steps
        self.gate = threading.Event()
        self.admitted = []
        self.most = 0
        self.room = True
        self.breaks = False
        self.closed = False
        self._left = {}
        self._dropped = set()

    def fits(self, prompt):
        return self.room

    def admit(self, prompt):
        if prompt.id.startswith("bad"):
            raise InvalidJob("told to", field="messages")
        self.admitted.append(prompt.id)
        self._left[prompt.id] = self.steps
        self.most = max(self.most, len(self._left))

    def step(self):
        opened = self.gate.wait(0.005)
        if self.breaks:
            raise ZeroDivisionError("a secret")
        if opened:
            self._left = {key: left - 1 for key, left in self._left.items()}
        over = [key for key, left in self._left.items() if left <= 0 or key in self._dropped]
        for key in over:
            del self._left[key]
        return Step(opened, {key: self._completion(key) for key in over})

    def drop(self, prompt_id):
        self._dropped.add(prompt_id)

    def close(self):
        self.closed = True

    def _completion(self, key):
        finish = "cancelled" if key in self._dropped else "stop"
        return Completion(id=key, text="done", tokens_in=1, tokens_out=1, finish=finish)


class Scripting(BatchedEngine):
    def info(self):
        raise NotImplementedError

    def embed(self, texts):
        raise NotImplementedError


@pytest.fixture
def batch():
    opened = []

    def build(limit=256, **script):
        generator = Scripted(**script)
        opened.append(Scripting(generator, waiting_limit=limit))
        return generator, opened[-1]

    yield build
    for engine in opened:
        engine.close()


def prompt(name, **changes):
    return Prompt(id=name, messages=(Turn(role="user", content="x"),), max_tokens=1, **changes)


@given(st.lists(st.tuples(st.integers(0, 1), st.none() | st.integers(100, 9_999)), max_size=12))
@settings(max_examples=25, deadline=None)
def test_the_line_goes_by_priority_then_deadline_then_arrival(ranks):
    generator = Scripted(slots=1)
    engine = Scripting(generator)
    first = engine.submit(prompt("first"))
    until(lambda: generator.admitted)
    now = time.time()
    futures = [
        engine.submit(prompt(str(at), priority=priority, deadline=late and now + late))
        for at, (priority, late) in enumerate(ranks)
    ]
    generator.gate.set()
    wait([first, *futures], 10)
    engine.close()
    best = sorted(
        range(len(ranks)),
        key=lambda at: (ranks[at][0], ranks[at][1] or float("inf"), at),
    )
    assert generator.admitted == ["first", *map(str, best)]


@given(
    slots=st.integers(1, 4),
    steps=st.integers(1, 3),
    fates=st.lists(st.sampled_from(["run", "cancel", "late", "bad"]), min_size=1, max_size=20),
    seed=st.randoms(use_true_random=False),
)
@settings(max_examples=30, deadline=None)
def test_every_future_ends_once_and_the_batch_never_overflows(slots, steps, fates, seed):
    generator = Scripted(slots, steps)
    engine = Scripting(generator)
    generator.gate.set()
    futures = {}
    for at, fate in enumerate(fates):
        name = f"{fate}{at}"
        late = time.time() - 1 if fate == "late" else None
        futures[name] = engine.submit(prompt(name, deadline=late))
        if fate == "cancel":
            engine.cancel(seed.choice(list(futures)))
    assert not wait(futures.values(), 10).not_done
    engine.close()
    assert generator.most <= slots
    assert generator.closed
    for name, future in futures.items():
        if name.startswith("bad") and isinstance(future.exception(), InvalidJob):
            continue
        assert future.result().id == name
        assert future.result().finish in {"stop", "cancelled", "deadline"}
        assert not name.startswith("late") or future.result().finish != "stop"


def test_a_full_line_is_busy_and_takes_more_later(batch):
    generator, engine = batch(limit=2)
    futures = [engine.submit(prompt("running"))]
    until(lambda: generator.admitted)
    futures += [engine.submit(prompt(name)) for name in ("b", "c")]
    assert isinstance(engine.submit(prompt("d")).exception(1), EngineBusy)
    engine.cancel("c")
    futures.append(engine.submit(prompt("e")))
    generator.gate.set()
    assert [future.result(5).finish for future in futures] == ["stop", "stop", "cancelled", "stop"]


def test_a_deadline_in_the_line_does_not_wait_for_a_slot(batch):
    generator, engine = batch()
    engine.submit(prompt("running"))
    until(lambda: generator.admitted)
    late = engine.submit(prompt("late", deadline=time.time() + 0.05))
    assert late.result(5).finish == "deadline"
    assert generator.admitted == ["running"]


def test_a_running_request_past_its_deadline_is_dropped(batch):
    _, engine = batch()
    answer = engine.submit(prompt("a", deadline=time.time() + 0.05)).result(5)
    assert (answer.finish, answer.text) == ("deadline", "done")


def test_the_best_waits_for_room_and_is_not_overtaken(batch):
    generator, engine = batch(slots=2)
    generator.room = False
    first = engine.submit(prompt("first"))
    until(lambda: generator.admitted)
    others = [engine.submit(prompt(name)) for name in ("second", "third")]
    time.sleep(0.05)
    assert generator.admitted == ["first"]
    generator.gate.set()
    wait([first, *others], 5)
    assert generator.admitted == ["first", "second", "third"]


def test_a_broken_step_fails_all_and_says_nothing_of_its_message(batch, caplog):
    generator, engine = batch()
    futures = [engine.submit(prompt(name)) for name in ("a", "b")]
    generator.breaks = True
    errors = [future.exception(5) for future in futures]
    assert {type(error) for error in errors} == {EngineDied}
    assert "secret" not in f"{errors} {caplog.text}"
    assert "ZeroDivisionError" in caplog.text
    assert isinstance(engine.submit(prompt("c")).exception(5), EngineDied)


def test_a_refusal_at_admission_is_the_requests_own(batch):
    generator, engine = batch()
    generator.gate.set()
    bad, good = engine.submit(prompt("bad")), engine.submit(prompt("good"))
    assert isinstance(bad.exception(5), InvalidJob)
    assert good.result(5).finish == "stop"


def test_only_steps_that_moved_count(batch):
    generator, engine = batch()
    future = engine.submit(prompt("a"))
    time.sleep(0.05)
    assert engine.steps() == 0
    generator.gate.set()
    future.result(5)
    assert engine.steps() == 1


def test_a_callers_cancel_of_the_future_changes_nothing(batch):
    generator, engine = batch()
    future = engine.submit(prompt("a"))
    assert not future.cancel()
    generator.gate.set()
    assert future.result(5).finish == "stop"


def test_time_in_the_line_is_measured(batch):
    generator, engine = batch()
    engine.submit(prompt("a"))
    waiting = engine.submit(prompt("b"))
    time.sleep(0.1)
    generator.gate.set()
    assert waiting.result(5).queued_s >= 0.1


def test_whereabouts_names_type_and_line_only():
    try:
        random.choice([])
    except IndexError as error:
        said = whereabouts(error)
    assert said.startswith("IndexError at random.py:")
    assert "empty" not in said


class Ahead:
    """Prepares when the test lets it, and remembers for whom."""

    def __init__(self):
        self.gates = {}
        self.begun, self.held = [], set()

    def prepare(self, prompt):
        self.begun.append(prompt.id)
        if gate := self.gates.get(prompt.id):
            assert gate.wait(10)
        if prompt.id.startswith("bad"):
            raise InvalidJob("told to", field="messages")
        if prompt.id.startswith("broken"):
            raise ZeroDivisionError("a secret")
        self.held.add(id(prompt))

    def forget(self, prompt):
        self.held.discard(id(prompt))

    def hold(self, *names):
        for name in names:
            self.gates[name] = threading.Event()

    def let(self, *names):
        for name in names:
            self.gates[name].set()


@pytest.fixture
def prepared():
    opened = []

    def build(**script):
        ahead, generator = Ahead(), Scripted(**script)
        generator.gate.set()
        opened.append((ahead, Scripting(generator, ahead=ahead)))
        return ahead, generator, opened[-1][1]

    yield build
    for ahead, engine in opened:
        ahead.let(*ahead.gates)
        engine.close()


def test_while_one_is_prepared_others_are_taken_and_answered(prepared):
    ahead, generator, engine = prepared()
    ahead.hold("slow")
    slow = engine.submit(prompt("slow"))
    until(lambda: ahead.begun)
    assert engine.submit(prompt("quick", priority=1)).result(5).text == "done"
    assert isinstance(engine.submit(prompt("slow")).exception(5), InvalidJob)
    assert not slow.done()
    ahead.let("slow")
    assert slow.result(5).text == "done"
    assert generator.admitted == ["quick", "slow"]
    until(lambda: not ahead.held)


def test_the_best_is_prepared_first(prepared):
    ahead, _, engine = prepared()
    ahead.hold("a", "b")
    first = [engine.submit(prompt(name)) for name in "ab"]
    until(lambda: len(ahead.begun) == 2)
    late = [engine.submit(prompt(f"bulk {at}", priority=1)) for at in range(9)]
    soon = engine.submit(prompt("interactive"))
    ahead.let("a")
    wait([*late, soon], 5)
    ahead.let("b")
    wait(first, 5)
    assert ahead.begun[2] == "interactive"


@pytest.mark.parametrize(("fate", "finish"), [("cancel", "cancelled"), ("late", "deadline")])
def test_what_ends_while_it_is_prepared_ends_at_once_and_leaves_nothing(prepared, fate, finish):
    ahead, generator, engine = prepared()
    ahead.hold("a")
    deadline = time.time() + 0.1 if fate == "late" else None
    future = engine.submit(prompt("a", deadline=deadline))
    until(lambda: ahead.begun)
    if fate == "cancel":
        engine.cancel("a")
    assert future.result(2).finish == finish
    again = engine.submit(prompt("a"))  # the id is free, though the old one is still worked on
    ahead.let("a")
    assert again.result(5).text == "done"
    assert generator.admitted == ["a"]
    until(lambda: not ahead.held)


def test_what_cannot_be_prepared_is_refused_and_says_nothing_of_a_message(prepared):
    _, generator, engine = prepared()
    assert isinstance(engine.submit(prompt("bad")).exception(5), InvalidJob)
    broken = engine.submit(prompt("broken")).exception(5)
    assert isinstance(broken, EngineDied)
    assert "secret" not in str(broken)
    assert engine.submit(prompt("good")).result(5).text == "done"
    assert generator.admitted == ["good"]


def test_closing_ends_what_is_being_prepared(prepared):
    ahead, _, engine = prepared()
    ahead.hold("0", "1")
    futures = [engine.submit(prompt(str(at))) for at in range(5)]
    until(lambda: len(ahead.begun) == 2)
    engine.close()
    assert {type(future.exception(1)) for future in futures} == {EngineDied}
    assert isinstance(engine.submit(prompt("late")).exception(1), EngineDied)
    ahead.let("0", "1")
    until(lambda: not ahead.held)
    assert len(ahead.begun) == 2
