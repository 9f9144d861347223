"""Which stop string ended a reply."""

from dataclasses import replace

import pytest

from forebay.routing.policy.capabilities import Capabilities
from forebay.workers.engines.engine import Prompt, Turn
from forebay.workers.frontier.provider import Reply
from forebay.workers.frontier.sending.stops import ended

CAN = Capabilities()
REPLY = Reply("one two", None, "stop", "m", "default", stand_in=False, latency_s=0.1)


def prompt(*stops):
    return Prompt(id="p", messages=(Turn(role="user", content="Hello."),), max_tokens=9, stop=stops)


def test_a_stop_string_that_a_model_leaves_in_its_text_is_cut_off_and_named():
    reply = ended(replace(REPLY, text="one END two"), prompt("END", "x"), CAN)
    assert (reply.text, reply.stop_sequence) == ("one ", "END")


@pytest.mark.parametrize(
    ("stopped", "stops", "named"),
    [(True, ("END",), "END"), (True, ("END", "x"), None), (False, ("END",), None)],
)
def test_a_stop_string_is_named_only_if_it_is_certain(stopped, stops, named):
    reply = ended(replace(REPLY, stopped=stopped), prompt(*stops), CAN)
    assert (reply.text, reply.stop_sequence) == ("one two", named)


def test_what_the_model_names_is_believed():
    named = replace(REPLY, stopped=True, stop_sequence="x")
    assert ended(named, prompt("END", "x"), CAN) == named
