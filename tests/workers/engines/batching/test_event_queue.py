"""Events of sequences that run on other threads, as the loop's steps see them."""

import threading

import pytest

from forebay.routing.errors import InvalidJob, Unavailable
from forebay.routing.receipts import TokenLogprob
from forebay.workers.engines.batching.event_queue import EventQueue
from forebay.workers.engines.batching.generator import TextPart
from forebay.workers.engines.engine import Completion


def completion(name):
    return Completion(id=name, text="done", tokens_in=1, tokens_out=1, finish="stop")


def test_a_step_takes_all_events_that_there_are():
    events = EventQueue()
    refused = InvalidJob("is refused", field="messages")
    for name, event in (
        ("a", TextPart("We ")),
        ("b", TextPart("")),
        ("a", TextPart("met.")),
        ("c", refused),
    ):
        events.put(name, event)
    events.put("b", completion("b"))
    step = events.step()
    assert step.moved
    assert step.texts == {"a": "We met.", "b": ""}
    assert step.ended == {"b": completion("b"), "c": refused}
    assert events.step() == type(step)(moved=False)


def test_a_step_waits_a_moment_for_an_event_of_another_thread():
    events = EventQueue()
    threading.Timer(0.02, events.put, ("a", TextPart("We"))).start()
    steps = [events.step() for _ in range(50)]
    assert [step.texts for step in steps if step.moved] == [{"a": "We"}]


@pytest.mark.parametrize("error", [ZeroDivisionError(), Unavailable("the server is gone")])
def test_an_error_that_is_no_jobs_own_breaks_the_engine(error):
    events = EventQueue(Unavailable)
    events.put("a", error)
    with pytest.raises(type(error)):
        events.step()


def test_tokens_come_with_the_text_of_their_chunks_in_order():
    events = EventQueue()
    tokens = [TokenLogprob(token=word, logprob=-1.0) for word in ("We ", "met", ".")]
    events.put("a", TextPart("We ", tokens[:1]))
    events.put("a", TextPart("met.", tokens[1:]))
    assert events.step().tokens == {"a": tokens}
