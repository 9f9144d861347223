"""The engine's own process, spoken to over its pipes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from forebay.workers.engines.engine import Prompt, Turn
from forebay.workers.engines.host import protocol
from forebay.workers.engines.settings import EngineSettings

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "forebay.workers.engines.host.child"]


@pytest.fixture
def child():
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        yield child
        child.kill()


def start(**settings):
    given = EngineSettings(engine="echo", **settings).model_dump(mode="json")
    return protocol.Start(settings=given, beat_s=60)


def submit(key, text):
    turn = Turn(role="user", content=text)
    return protocol.Submit(key=key, prompt=Prompt(id=key, messages=(turn,), max_tokens=50))


def replies(child):
    """Yield the replies of the process until its output ends."""
    for lines in protocol.lines(child.stdout):
        yield from map(protocol.read_reply, lines)


def test_commands_that_come_before_the_engine_is_open_are_carried_out_then(child):
    early = [start(), submit("a", "first"), submit("b", "second")]
    protocol.write(early, child.stdin)
    seen, texts = replies(child), {}
    assert isinstance(next(seen), protocol.Ready)
    while len(texts) < 2:
        reply = next(seen)
        if isinstance(reply, protocol.Completed):
            texts |= {key: one.text for key, one in reply.completions.items()}
    assert texts == {"a": "first", "b": "second"}
    protocol.write([submit("c", "later")], child.stdin)
    while "c" not in texts:
        reply = next(seen)
        if isinstance(reply, protocol.Completed):
            texts |= {key: one.text for key, one in reply.completions.items()}
    assert texts["c"] == "later"


def test_the_process_ends_with_its_input_also_while_the_engine_opens(child):
    protocol.write([start()], child.stdin)
    child.stdin.close()
    assert child.wait(30) == 0


def test_a_command_that_cannot_be_read_ends_the_process(child):
    protocol.write([start()], child.stdin)
    assert isinstance(next(replies(child)), protocol.Ready)
    child.stdin.write(b"{}\n")
    child.stdin.flush()
    assert child.wait(30) == 70
