"""A prompt with branches, over submit and cancel functions that the test drives."""

from __future__ import annotations

import contextlib
import random
import threading
from concurrent.futures import Future

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.routing.errors import EngineDied, InvalidJob
from forebay.workers.engines.batching.branches import BranchedRequest
from forebay.workers.engines.engine import Branch, Choice, Completion, Prompt, Turn


class Batch:
    """Holds the prompts of branches until the test ends them."""

    def __init__(self, branches, width=3):
        self.running: dict[str, Future[Completion]] = {}
        self.seen: list[Prompt] = []
        self.most = 0
        self.cancelled: list[str] = []
        self.prompt = Prompt(
            id="p",
            messages=(Turn(role="system", content="s"), Turn(role="user", content="text")),
            max_tokens=8,
            branches=tuple(Branch(text=f" {n}", options=("a", "b")) for n in range(branches)),
        )
        self.whole = BranchedRequest(self.prompt, width, self.submit, self.cancel)
        self.whole.start()

    def submit(self, prompt, *, bounded):
        assert bounded == (prompt.id == "p#0")
        future = self.running[prompt.id] = Future()
        self.seen.append(prompt)
        self.most = max(self.most, len(self.running))
        return future

    def cancel(self, prompt_id):
        self.cancelled.append(prompt_id)
        with contextlib.suppress(KeyError):  # it has ended
            self.end(prompt_id, finish="cancelled")

    def end(self, prompt_id, finish="stop"):
        scores = {"a": -0.1, "b": -2.3} if finish == "stop" else None
        self.running.pop(prompt_id).set_result(
            Completion(
                id=prompt_id, text="a", tokens_in=5, tokens_out=1, finish=finish,
                option_logprobs=scores, prefill_s=0.5,
            )
        )  # fmt: skip

    def fail(self, prompt_id, error):
        self.running.pop(prompt_id).set_exception(error)


def test_the_first_branch_runs_alone_and_then_as_many_as_fit():
    batch = Batch(branches=6, width=3)
    assert list(batch.running) == ["p#0"]
    batch.end("p#0")
    assert list(batch.running) == ["p#1", "p#2", "p#3"]
    batch.end("p#2")
    assert list(batch.running) == ["p#1", "p#3", "p#4"]


def test_a_branch_is_the_prompt_with_its_own_end_and_options():
    batch = Batch(branches=2)
    first = batch.seen[0]
    assert [turn.content for turn in first.messages] == ["s", "text 0"]
    assert first.constraint == Choice(options=("a", "b"))
    assert first.score_options
    assert first.branches == ()


def test_the_completion_has_the_scores_of_all_branches_in_their_order():
    batch = Batch(branches=3)
    for name in ("p#0", "p#2", "p#1"):
        batch.end(name)
    completion = batch.whole.future.result(0)
    assert (completion.id, completion.finish, completion.text) == ("p", "stop", "")
    assert len(completion.branch_logprobs) == 3
    assert (completion.tokens_in, completion.tokens_out, completion.prefill_s) == (15, 3, 1.5)


def test_an_error_ends_the_other_branches_and_then_the_whole():
    batch = Batch(branches=5)
    batch.end("p#0")
    batch.fail("p#2", InvalidJob("no", field="labels"))
    assert not batch.running
    with pytest.raises(InvalidJob, match="labels"):
        batch.whole.future.result(0)
    assert len(batch.seen) == 4  # the last one never began


def test_a_cancelled_prompt_begins_no_more_branches():
    batch = Batch(branches=5)
    batch.end("p#0")
    batch.whole.cancel()
    completion = batch.whole.future.result(0)
    assert (completion.id, completion.finish) == ("p", "cancelled")
    assert completion.branch_logprobs is None
    assert set(batch.cancelled) == {"p#1", "p#2", "p#3"}


def test_a_deadline_of_a_branch_is_that_of_the_whole():
    batch = Batch(branches=2)
    batch.end("p#0", finish="deadline")
    assert batch.whole.future.result(0).finish == "deadline"


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 5),
    st.lists(st.sampled_from(["stop", "stop", "stop", "cancelled", "deadline", "error"])),
    st.integers(0, 2**16),
)
def test_the_whole_ends_once_whatever_its_branches_do(branches, width, fates, seed):
    dice, batch = random.Random(seed), Batch(branches, width)
    while batch.running:
        name = dice.choice(sorted(batch.running))
        fate = fates.pop() if fates else "stop"
        if fate == "error":
            batch.fail(name, EngineDied("broke"))
        else:
            batch.end(name, finish=fate)
    assert batch.whole.future.done()
    assert batch.most <= width


def test_cancelling_from_another_thread_never_leaves_the_whole_open():
    for number in range(50):
        batch = Batch(branches=20, width=4)
        thread = threading.Timer(number / 100_000, batch.whole.cancel)
        thread.start()
        while not batch.whole.future.done():
            for name in list(batch.running):
                with contextlib.suppress(KeyError):  # the other thread ended it
                    batch.end(name)
        thread.join()
        assert batch.whole.future.result(0).finish in ("stop", "cancelled")
