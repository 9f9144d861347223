"""The commands that submit prompts; prompts of which little differs are one command."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from forebay.workers.engines.engine import Frame, Prompt
from forebay.workers.engines.host import protocol

#: What differs between prompts that are alike. Of the messages, the content of the last differs.
_OWN = {"id": None, "messages": None}


def submissions(keys: Sequence[str], prompts: Sequence[Prompt]) -> list[Frame]:
    """Return the commands that submit these prompts, whose requests have these keys."""
    pairs = zip(keys, prompts, strict=True)
    groups = [list(alike) for _, alike in groupby(pairs, lambda pair: _shared(pair[1]))]
    return [command for alike in groups for command in _commands(alike)]


def _shared(prompt: Prompt) -> tuple[Any, ...]:
    """Return what prompts that are alike share. Rows share most values, which compare at once."""
    *before, last = prompt.messages
    return {**prompt.__dict__, **_OWN}, before, last.role


def _commands(alike: list[tuple[str, Prompt]]) -> list[Frame]:
    contents = {prompt.id: prompt.messages[-1].content for _, prompt in alike}
    if len(alike) == 1 or len(contents) < len(alike):  # an id that repeats is refused by itself
        return [protocol.Submit(key=key, prompt=prompt) for key, prompt in alike]
    keys = tuple(key for key, _ in alike)
    return [protocol.SubmitAlike(prompt=alike[0][1], contents=contents, keys=keys)]
