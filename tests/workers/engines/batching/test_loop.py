"""The step loop in front of every engine, over a generator that follows the test's script."""

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
from forebay.workers.engines.batching.loop import BatchedEngine, error_location
from forebay.workers.engines.engine import Completion, Prompt, Turn
from patience import until


class ScriptedGenerator:
    """A generator whose sequences take `steps` steps each, once the test has opened the gate."""

    def __init__(self, slots=1, steps=1):
        self.slots = slots
        self.steps = steps
        self.gate = threading.Event()
        self.admitted = []
        self.largest_batch = 0
        self.room = True
        self.breaks = False
        self.closed = False
        self._steps_left = {}
        self._dropped = set()

    def fits(self, prompt):
        return self.room

    def admit(self, prompt):
        if prompt.id.startswith("bad"):
            raise InvalidJob("is refused by the script", field="messages")
        self.admitted.append(prompt.id)
        self._dropped.discard(prompt.id)
        self._steps_left[prompt.id] = self.steps
        self.largest_batch = max(self.largest_batch, len(self._steps_left))

    def step(self):
        opened = self.gate.wait(0.005)
        if self.breaks:
            raise ZeroDivisionError("a secret")
        if opened:
            self._steps_left = {key: left - 1 for key, left in self._steps_left.items()}
        ended = [key for key, left in self._steps_left.items() if left <= 0 or key in self._dropped]
        for key in ended:
            del self._steps_left[key]
        return Step(opened, {key: self._completion(key) for key in ended})

    def drop(self, prompt_id):
        self._dropped.add(prompt_id)

    def close(self):
        self.closed = True

    def _completion(self, key):
        finish = "cancelled" if key in self._dropped else "stop"
        return Completion(id=key, text="done", tokens_in=1, tokens_out=1, finish=finish)


class ScriptedEngine(BatchedEngine):
    def info(self):
        raise NotImplementedError

    def embed(self, texts):
        raise NotImplementedError


@pytest.fixture
def batch():
    opened = []

    def build(max_waiting=256, **script):
        generator = ScriptedGenerator(**script)
        opened.append(ScriptedEngine(generator, max_waiting=max_waiting))
        return generator, opened[-1]

    yield build
    for engine in opened:
        engine.close()


def prompt(name, **changes):
    return Prompt(id=name, messages=(Turn(role="user", content="x"),), max_tokens=1, **changes)


@given(st.lists(st.tuples(st.integers(0, 1), st.none() | st.integers(100, 9_999)), max_size=12))
@settings(max_examples=25, deadline=None)
def test_requests_are_admitted_by_priority_then_deadline_then_arrival(ranks):
    generator = ScriptedGenerator(slots=1)
    engine = ScriptedEngine(generator)
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
    expected = sorted(
        range(len(ranks)),
        key=lambda at: (ranks[at][0], ranks[at][1] or float("inf"), at),
    )
    assert generator.admitted == ["first", *map(str, expected)]


@given(
    slots=st.integers(1, 4),
    steps=st.integers(1, 3),
    fates=st.lists(st.sampled_from(["run", "cancel", "late", "bad"]), min_size=1, max_size=20),
    seed=st.randoms(use_true_random=False),
)
@settings(max_examples=30, deadline=None)
def test_every_future_ends_once_and_the_batch_never_overflows(slots, steps, fates, seed):
    generator = ScriptedGenerator(slots, steps)
    engine = ScriptedEngine(generator)
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
    assert generator.largest_batch <= slots
    assert generator.closed
    for name, future in futures.items():
        if name.startswith("bad") and isinstance(future.exception(), InvalidJob):
            continue
        assert future.result().id == name
        assert future.result().finish in {"stop", "cancelled", "deadline"}
        assert not name.startswith("late") or future.result().finish != "stop"


def test_a_full_queue_is_busy_and_takes_more_later(batch):
    generator, engine = batch(max_waiting=2)
    futures = [engine.submit(prompt("running"))]
    until(lambda: generator.admitted)
    futures += [engine.submit(prompt(name)) for name in ("b", "c")]
    assert isinstance(engine.submit(prompt("d")).exception(1), EngineBusy)
    engine.cancel("c")
    futures.append(engine.submit(prompt("e")))
    generator.gate.set()
    assert [future.result(5).finish for future in futures] == ["stop", "stop", "cancelled", "stop"]


def test_an_overdue_request_ends_without_waiting_for_a_slot(batch):
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


def test_the_best_request_waits_for_room_and_is_not_overtaken(batch):
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


def test_a_failed_step_fails_all_requests_and_hides_the_errors_message(batch, caplog):
    generator, engine = batch()
    futures = [engine.submit(prompt(name)) for name in ("a", "b")]
    generator.breaks = True
    errors = [future.exception(5) for future in futures]
    assert {type(error) for error in errors} == {EngineDied}
    assert "secret" not in f"{errors} {caplog.text}"
    assert "ZeroDivisionError" in caplog.text
    assert isinstance(engine.submit(prompt("c")).exception(5), EngineDied)


@pytest.mark.parametrize("close_breaks", [False, True])
def test_the_model_is_freed_after_a_failed_step_once_all_requests_have_failed(
    batch, caplog, close_breaks
):
    generator, engine = batch()
    future, waiting_at_close = engine.submit(prompt("a")), []

    def close():
        waiting_at_close.append(not future.done())
        if close_breaks:
            raise ValueError("a secret")

    generator.close, generator.breaks = close, True
    assert isinstance(future.exception(5), EngineDied)
    until(lambda: not engine._thread.is_alive())
    assert waiting_at_close == [False]
    assert ("ValueError" in caplog.text) is close_breaks
    assert "secret" not in caplog.text


def test_a_refusal_at_admission_ends_only_that_request(batch):
    generator, engine = batch()
    generator.gate.set()
    bad, good = engine.submit(prompt("bad")), engine.submit(prompt("good"))
    assert isinstance(bad.exception(5), InvalidJob)
    assert good.result(5).finish == "stop"


def test_only_steps_that_moved_are_counted(batch):
    generator, engine = batch()
    future = engine.submit(prompt("a"))
    time.sleep(0.05)
    assert engine.steps() == 0
    generator.gate.set()
    future.result(5)
    assert engine.steps() == 1


def test_cancelling_the_future_itself_changes_nothing(batch):
    generator, engine = batch()
    future = engine.submit(prompt("a"))
    assert not future.cancel()
    generator.gate.set()
    assert future.result(5).finish == "stop"


def test_the_time_in_the_queue_is_measured(batch):
    generator, engine = batch()
    engine.submit(prompt("a"))
    waiting = engine.submit(prompt("b"))
    time.sleep(0.1)
    generator.gate.set()
    assert waiting.result(5).queued_s >= 0.1


def test_an_errors_location_is_its_type_and_line_without_its_message():
    try:
        random.choice([])
    except IndexError as error:
        location = error_location(error)
    assert location.startswith("IndexError at random.py:")
    assert "empty" not in location


class ScriptedPreparer:
    """Prepares when the test opens a prompt's gate, and remembers what it holds."""

    def __init__(self):
        self.gates = {}
        self.begun, self.prepared = [], set()

    def prepare(self, prompt):
        self.begun.append(prompt.id)
        if gate := self.gates.get(prompt.id):
            assert gate.wait(10)
        if prompt.id.startswith("bad"):
            raise InvalidJob("is refused by the script", field="messages")
        if prompt.id.startswith("broken"):
            raise ZeroDivisionError("a secret")
        self.prepared.add(id(prompt))

    def forget(self, prompt):
        self.prepared.discard(id(prompt))

    def shut_gates(self, *names):
        for name in names:
            self.gates[name] = threading.Event()

    def open_gates(self, *names):
        for name in names:
            self.gates[name].set()


@pytest.fixture
def prepared():
    opened = []

    def build(**script):
        preparer, generator = ScriptedPreparer(), ScriptedGenerator(**script)
        generator.gate.set()
        opened.append((preparer, ScriptedEngine(generator, preparer=preparer)))
        return preparer, generator, opened[-1][1]

    yield build
    for preparer, engine in opened:
        preparer.open_gates(*preparer.gates)
        engine.close()


def test_while_one_request_is_prepared_others_are_admitted_and_answered(prepared):
    preparer, generator, engine = prepared()
    preparer.shut_gates("slow")
    slow = engine.submit(prompt("slow"))
    until(lambda: preparer.begun)
    assert engine.submit(prompt("quick", priority=1)).result(5).text == "done"
    assert isinstance(engine.submit(prompt("slow")).exception(5), InvalidJob)
    assert not slow.done()
    preparer.open_gates("slow")
    assert slow.result(5).text == "done"
    assert generator.admitted == ["quick", "slow"]
    until(lambda: not preparer.prepared)


def test_the_best_request_is_prepared_first(prepared):
    preparer, _, engine = prepared()
    preparer.shut_gates("a", "b")
    first = [engine.submit(prompt(name)) for name in "ab"]
    until(lambda: len(preparer.begun) == 2)
    late = [engine.submit(prompt(f"bulk {at}", priority=1)) for at in range(9)]
    soon = engine.submit(prompt("interactive"))
    preparer.open_gates("a")
    wait([*late, soon], 5)
    preparer.open_gates("b")
    wait(first, 5)
    assert preparer.begun[2] == "interactive"


@pytest.mark.parametrize(("fate", "finish"), [("cancel", "cancelled"), ("late", "deadline")])
def test_a_request_that_ends_while_it_is_prepared_ends_at_once_and_leaves_nothing(
    prepared, fate, finish
):
    preparer, generator, engine = prepared()
    preparer.shut_gates("a")
    deadline = time.time() + 0.1 if fate == "late" else None
    future = engine.submit(prompt("a", deadline=deadline))
    until(lambda: preparer.begun)
    if fate == "cancel":
        engine.cancel("a")
    assert future.result(2).finish == finish
    again = engine.submit(prompt("a"))  # the id is free, though the first is still being prepared
    preparer.open_gates("a")
    assert again.result(5).text == "done"
    assert generator.admitted == ["a"]
    until(lambda: not preparer.prepared)


def test_a_request_that_cannot_be_prepared_is_refused_without_the_errors_message(prepared):
    _, generator, engine = prepared()
    assert isinstance(engine.submit(prompt("bad")).exception(5), InvalidJob)
    broken = engine.submit(prompt("broken")).exception(5)
    assert isinstance(broken, EngineDied)
    assert "secret" not in str(broken)
    assert engine.submit(prompt("good")).result(5).text == "done"
    assert generator.admitted == ["good"]


def test_close_ends_requests_that_are_being_prepared(prepared):
    preparer, _, engine = prepared()
    preparer.shut_gates("0", "1")
    futures = [engine.submit(prompt(str(at))) for at in range(5)]
    until(lambda: len(preparer.begun) == 2)
    engine.close()
    assert {type(future.exception(1)) for future in futures} == {EngineDied}
    assert isinstance(engine.submit(prompt("late")).exception(1), EngineDied)
    preparer.open_gates("0", "1")
    until(lambda: not preparer.prepared)
    assert len(preparer.begun) == 2


def test_a_bulk_request_yields_its_slot_and_is_answered_later(batch):
    generator, engine = batch(slots=1)
    bulk = engine.submit(prompt("bulk", priority=1))
    until(lambda: generator.admitted == ["bulk"])
    wanted = engine.submit(prompt("wanted"))
    until(lambda: generator.admitted == ["bulk", "wanted"])
    generator.gate.set()
    assert (wanted.result(5).finish, bulk.result(5).finish) == ("stop", "stop")
    assert generator.admitted == ["bulk", "wanted", "bulk"]
    assert generator.largest_batch == 1


def test_a_request_that_yields_can_still_be_cancelled(batch):
    generator, engine = batch(slots=1)
    bulk = engine.submit(prompt("bulk", priority=1))
    until(lambda: generator.admitted == ["bulk"])
    engine.submit(prompt("wanted"))
    engine.cancel("bulk")
    assert bulk.result(5).finish == "cancelled"
