"""Regular expressions and schemas of callers, checked in bounded time.

Python cannot interrupt a regular expression, and holds the interpreter lock meanwhile: one bad
pattern would stop every job of the worker, and the renewal of its leases. So risky checks run in a
process of their own, which is killed when its time is up.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.exceptions import Unresolvable

from forebay.routing.json_tree import nodes

TIMEOUT_S = 5.0  # wall time on a busy machine; a good pattern takes milliseconds

_RISKY_KEYWORDS = frozenset({"pattern", "patternProperties", "$ref", "$dynamicRef"})
_MATCH_PROGRAM = """
import json, re, sys
question = json.load(sys.stdin)
print(0 if re.fullmatch(question["regex"], question["text"]) else 1)
"""
_VALIDATE_PROGRAM = """
import json, sys
from jsonschema import Draft202012Validator as V
from referencing import Registry
question = json.load(sys.stdin)
validator = V(question["schema"], registry=Registry(), format_checker=V.FORMAT_CHECKER)
error = next(validator.iter_errors(question["data"]), None)
print(error.validator if error else 0)
"""


def mismatch(regex: str, text: str, *, timeout_s: float = TIMEOUT_S) -> str | None:
    """Return why the whole text does not match, without quoting it; `None` if it matches."""
    output = _run(_MATCH_PROGRAM, {"regex": regex, "text": text}, timeout_s)
    return None if output == "0" else "does not match" if output == "1" else output


def violation(schema: dict[str, Any], data: Any, *, timeout_s: float = TIMEOUT_S) -> str | None:
    """Return the keyword of the schema that the data violates; `None` if it validates.

    Formats (`date`, `email`, …) count. Nothing is ever fetched: the registry of schemas is empty.
    """
    if _is_risky(schema):
        output = _run(_VALIDATE_PROGRAM, {"schema": schema, "data": data}, timeout_s)
        return None if output == "0" else output
    try:
        validator = Draft202012Validator(
            schema, registry=Registry(), format_checker=Draft202012Validator.FORMAT_CHECKER
        )
        error = next(validator.iter_errors(data), None)
    except (RecursionError, Unresolvable, ArithmeticError, ValueError, TypeError):
        return "cannot be checked"
    return str(error.validator) if error else None


def _is_risky(schema: Any) -> bool:
    return any(
        isinstance(node, dict) and not _RISKY_KEYWORDS.isdisjoint(node) for node in nodes(schema)
    )


def _run(program: str, question: dict[str, Any], timeout_s: float) -> str:
    """Run a program that reads a question from its input, and return its output or what failed."""
    try:
        # Through a pipe: a process's arguments can be read by everybody on the machine.
        process = subprocess.run(  # noqa: S603 - the program is ours; the question comes as data
            [sys.executable, "-I", "-c", program],
            input=json.dumps(question),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "takes too long to check"
    except (RecursionError, ValueError, TypeError):
        return "cannot be checked"
    return process.stdout.strip() if process.returncode == 0 else "cannot be checked"
