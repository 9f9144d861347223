"""The transitions: one Lua script each, beside the code that runs it, the shared words put before."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent


@cache
def transition(name: str) -> str:
    """The text of a transition. Its first line (`#!lua flags=...`) must stay the first line."""
    (path,) = _HERE.parent.glob(f"*/lua/{name}.lua")
    shebang, _, body = path.read_text().partition("\n")
    return f"{shebang}\n{(_HERE / 'prelude.lua').read_text()}\n{body}"
