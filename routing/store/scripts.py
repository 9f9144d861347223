"""The Lua scripts: one file per transition in `*/lua/`, after what it uses of `prelude.lua`.

Workers and sweepers load the scripts into Redis (`load_all`), at their start and again after Redis
was restarted. Producers can only run scripts that are loaded: a user of Redis that could load a
script of its own could stop Redis with an endless loop.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import redis
from redis.exceptions import NoPermissionError, NoScriptError

from forebay.routing.errors import Unavailable
from forebay.routing.store.event_loop import pause

#: How long a producer waits for the fleet to load its scripts, and how often it looks.
LOADING_S, LOOK_EVERY_S = 5.0, 0.1

_HERE = Path(__file__).parent
#: A definition begins at the start of a line, and ends before the next one and its comment.
_DEFINITION = re.compile(
    r"^local (?:function )?(?P<name>\w+)[^\n]*\n(?:(?!local |--)[^\n]*\n)*", re.MULTILINE
)
_NAME, _NO_NAMES = re.compile(r"(?<![.\w])[A-Za-z_]\w*"), re.compile(r"'[^'\n]*'|--[^\n]*|\.{2,}")
T = TypeVar("T")


@cache
def transition(name: str) -> str:
    """Return the text of a script. Its first line (`#!lua flags=...`) stays the first line."""
    (path,) = _HERE.parent.glob(f"*/lua/{name}.lua")
    shebang, _, body = path.read_text().partition("\n")
    return "\n".join([shebang, *_needed(body), body])


def _needed(body: str) -> list[str]:
    """Return the definitions of the prelude that a script uses, in their order.

    Each run of a script makes anew all functions that stand before it. The whole prelude takes
    Redis longer than all that most scripts do.
    """
    used = _names_in(body)
    needed: list[str] = []
    for defined, text in reversed(_prelude()):  # each uses only what stands before it
        if defined in used:
            used |= _names_in(text)
            needed.append(text)
    return needed[::-1]


@cache
def _prelude() -> list[tuple[str, str]]:
    """Return the definitions of the prelude, each with its name."""
    text = (_HERE / "prelude.lua").read_text()
    return [(found["name"], found[0].rstrip()) for found in _DEFINITION.finditer(text)]


def _names_in(text: str) -> set[str]:
    """Return the names that a piece of Lua may refer to: no comments, texts and fields."""
    return set(_NAME.findall(_NO_NAMES.sub(" ", text)))


@cache
def digest(name: str) -> str:
    """Return the digest by which Redis knows a script."""
    return hashlib.sha1(transition(name).encode(), usedforsecurity=False).hexdigest()


@cache
def names() -> tuple[str, ...]:
    """Return the names of all scripts."""
    return tuple(sorted(path.stem for path in _HERE.parent.glob("*/lua/*.lua")))


def load_all(client: redis.Redis) -> int:
    """Load the scripts that Redis does not have, and return how many those were."""
    known = client.script_exists(*map(digest, names()))
    missing = [name for name, there in zip(names(), known, strict=True) if not there]
    for name in missing:
        client.script_load(transition(name))
    return len(missing)


def with_scripts(client: redis.Redis, call: Callable[[], T]) -> T:
    """Return what `call` returns; call it again once the scripts are loaded if Redis lacks them.

    A user that may load the scripts loads them. Another waits until a worker or a sweeper has.

    Raises:
        Unavailable: Nobody loaded the scripts within `LOADING_S`.
    """
    end = time.monotonic() + LOADING_S
    while True:
        try:
            return call()
        except NoScriptError:
            _load_or_wait(client, end)


def run(client: redis.Redis, name: str, *args: Any) -> Any:
    """Run a script once, and return its reply; see `with_scripts`."""
    return with_scripts(client, lambda: client.evalsha(digest(name), 0, *args))


def set_fields(client: redis.Redis, key: str, there: str, fields: Mapping[str, Any]) -> bool:
    """Set fields of a record if it has the field `there`; return `False` if it has not.

    In one step: a record that was deleted meanwhile does not come back.
    """
    pairs = (part for pair in fields.items() for part in pair)
    return bool(run(client, "set_fields", key, there, *pairs))


def run_all(client: redis.Redis, name: str, rows: Sequence[Sequence[Any]]) -> list[Any]:
    """Run a script for each row of arguments, in one round trip, and return the replies.

    The reply of a run that failed is its exception. If Redis has forgotten the script, all rows run
    a second time, so the script must be safe to repeat.
    """
    sha = digest(name)

    def run_rows() -> list[Any]:
        if len(rows) == 1:  # a pipeline takes longer
            return [_reply(client, sha, rows[0])]
        with client.pipeline(transaction=False) as pipe:
            for args in rows:
                pipe.execute_command("EVALSHA", sha, 0, *args)  # type: ignore[no-untyped-call]  # redis-py's
            replies = pipe.execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, NoScriptError):
                raise reply
        return replies

    return with_scripts(client, run_rows)


def _reply(client: redis.Redis, sha: str, args: Sequence[Any]) -> Any:
    """Run a script once; return its reply, or the exception of a run that failed."""
    try:
        return client.execute_command("EVALSHA", sha, 0, *args)  # type: ignore[no-untyped-call]  # redis-py's
    except NoScriptError:
        raise
    except redis.ResponseError as error:
        return error


def _load_or_wait(client: redis.Redis, end: float) -> None:
    try:
        load_all(client)
    except NoPermissionError:
        if time.monotonic() > end:
            raise Unavailable(
                "Redis does not have the scripts of this version of Forebay: start a worker or a "
                "sweeper of the same version, which load them",
                retry_after=LOADING_S,
            ) from None
        pause(LOOK_EVERY_S)
