"""The Lua scripts: one file per transition in `*/lua/`, with `prelude.lua` put before each."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent


@cache
def transition(name: str) -> str:
    """Return the text of a script. Its first line (`#!lua flags=...`) stays the first line."""
    (path,) = _HERE.parent.glob(f"*/lua/{name}.lua")
    shebang, _, body = path.read_text().partition("\n")
    return f"{shebang}\n{(_HERE / 'prelude.lua').read_text()}\n{body}"
