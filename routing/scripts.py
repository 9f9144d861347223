"""The transitions: one Lua script each, in `routing/transitions/`, the shared words put before."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def transition(name: str) -> str:
    """The text of a transition. Its first line (`#!lua flags=...`) must stay the first line."""
    folder = files("routing") / "transitions"
    shebang, _, body = (folder / f"{name}.lua").read_text().partition("\n")
    return f"{shebang}\n{(folder / 'prelude.lua').read_text()}\n{body}"
