"""Prompts of which little differs travel as one command, and arrive as they were."""

import pytest

from forebay.workers.engines.engine import Choice, Prompt, Turn, alike
from forebay.workers.engines.host import protocol
from forebay.workers.engines.host.submissions import submissions


def prompt(number, content=None, **fields):
    turns = (
        Turn(role="system", content="Name the colour."),
        Turn(role="user", content=content or f"text {number}"),
    )
    choice = Choice(options=("red", "blue"))
    made = {"id": f"acme.1/{number}", "messages": turns, "max_tokens": 8, "constraint": choice}
    return Prompt(**{**made, **fields})


def arrived(commands):
    """Return the keys and prompts that the engine's process makes of commands."""
    found = []
    for command in commands:
        read = protocol.read_command(command.model_dump_json().encode())
        if isinstance(read, protocol.SubmitAlike):
            found += zip(read.keys, alike(read.prompt, read.contents), strict=True)
        else:
            found.append((read.key, read.prompt))
    return found


OTHER_TURNS = (Turn(role="system", content="Other."), Turn(role="user", content="text 2"))


@pytest.mark.parametrize(
    ("prompts", "commands"),
    [
        ([], 0),
        ([prompt(1)], 1),
        ([prompt(1), prompt(2), prompt(3)], 1),
        ([prompt(1), prompt(2, temperature=0.5)], 2),
        ([prompt(1), prompt(2, messages=OTHER_TURNS)], 2),
        ([prompt(1), prompt(2, constraint=Choice(options=("red", "green")))], 2),
        ([prompt(1), prompt(2), prompt(3, stream=True), prompt(4, stream=True)], 2),
        ([prompt(1), prompt(1, content="an id that repeats")], 2),
    ],
)
def test_alike_prompts_are_one_command_and_each_arrives_unchanged(prompts, commands):
    keys = [f"p{number}" for number in range(len(prompts))]
    sent = submissions(keys, prompts)
    assert len(sent) == commands
    assert arrived(sent) == list(zip(keys, prompts, strict=True))
