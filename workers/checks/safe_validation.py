"""Regular expressions and schemas come from callers, and some never end; here they must.

Python cannot interrupt a regular expression, and it holds the interpreter meanwhile: one bad
pattern would stop every job of the worker, and its lease renewal with them. So the dangerous ones
run in a process of their own that is killed when its time is up.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.exceptions import Unresolvable

SECONDS = 5.0  # of wall time on a busy machine; a good pattern takes milliseconds

_RISKY = frozenset({"pattern", "patternProperties", "$ref", "$dynamicRef"})
_MATCH = """
import json, re, sys
asked = json.load(sys.stdin)
print(0 if re.fullmatch(asked["regex"], asked["text"]) else 1)
"""
_VALIDATE = """
import json, sys
from jsonschema import Draft202012Validator as V
from referencing import Registry
asked = json.load(sys.stdin)
wrong = next(V(asked["schema"], registry=Registry(), format_checker=V.FORMAT_CHECKER)
             .iter_errors(asked["data"]), None)
print(wrong.validator if wrong else 0)
"""


def mismatch(regex: str, text: str, *, seconds: float = SECONDS) -> str | None:
    """Why the whole text does not match, in words without content; none where it does."""
    said = _ask(_MATCH, {"regex": regex, "text": text}, seconds)
    return None if said == "0" else "does not match" if said == "1" else said


def violation(schema: dict[str, Any], data: Any, *, seconds: float = SECONDS) -> str | None:
    """Which keyword of the schema the data violates; none where it validates.

    Formats (`date`, `email`, …) count. Nothing is ever fetched: the registry of schemas is empty.
    """
    if any(key in _RISKY for key in _keys(schema)):
        said = _ask(_VALIDATE, {"schema": schema, "data": data}, seconds)
        return None if said == "0" else said
    try:
        validator = Draft202012Validator(
            schema, registry=Registry(), format_checker=Draft202012Validator.FORMAT_CHECKER
        )
        wrong = next(validator.iter_errors(data), None)
    except (RecursionError, Unresolvable, ArithmeticError, ValueError, TypeError):
        return "cannot be checked"
    return str(wrong.validator) if wrong else None


def _keys(node: Any) -> Iterator[str]:
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield from node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _ask(code: str, question: dict[str, Any], seconds: float) -> str:
    try:
        # Through a pipe: everybody on the machine can read a process's arguments.
        done = subprocess.run(  # noqa: S603 - the code is ours, what is asked comes as data
            [sys.executable, "-I", "-c", code],
            input=json.dumps(question),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "takes too long to check"
    except (RecursionError, ValueError, TypeError):
        return "cannot be checked"
    return done.stdout.strip() if done.returncode == 0 else "cannot be checked"
