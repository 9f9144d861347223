"""Random bad input. The same seed gives the same inputs.

All content holds a canary, which no message about the input may repeat.
"""

from __future__ import annotations

import json
import random
from copy import deepcopy
from typing import Any

CANARY = "Kanarie-7f3a"
TENANT = "fuzz"

ODD_TEXTS = (
    "", " ", "\x00", "\ud800", "\udcff", "\u202e", "\ufeff", "\u2028", "e\u0301", "\U0001f9a5",
    "%s", "{0}", "../..", "*", "$ref", "'; --", "\r\n", "acme.0", "fuzz." + "0" * 32,
    "[[echo: nonsense]]", "(a+)+b", "a{99999999999999999999}", "[[a]", "(" * 80 + ")" * 80,
    "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "NaN", "-1", "1e999",
)  # fmt: skip
#: Parts of which a model's text is made.
PIECES = (
    "<think>", "</think>", "```json\n", "```", "{", "}", "[", "]", '"', "\\", '{"a": 1}', "null",
    "b", "answer: ", "\u2022 ", "1. ", "12.50 EUR ", "(1,234.5)", "1/2/2024 ", "12 May 2024 ",
    "10:30 pm ", "\u00bd", "1e999", "-", "\u2212", "one hundred ", "\u4e00\u4e07", "yes", "\u0301",
    "I'm sorry, I can't help ", "\ud83d", "\u200b", "\n", " ", "Paul ", "http://a.b/c ", "a@b.de ",
    "P1Y", "A. ", ", ",
)  # fmt: skip
ODD_NUMBERS = (
    0, -1, 1, 5, 2**31, 2**53, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e-300, 1e308,
    float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
WORDS = (
    "kind", "text", "labels", "schema", "messages", "texts", "tenant", "id", "egress", "lane",
    "priority", "deadline", "max_cost_usd", "idempotency_key", "cache", "metadata", "request",
    "regex", "stop", "seed", "type", "properties", "items", "$ref", "$dynamicRef", "$id", "$schema",
    "enum", "const", "pattern", "format", "anyOf", "not", "required", "minimum", "maxItems",
    "additionalProperties", "patternProperties", "role", "content", "name", "max_words", "state",
    "questions", "choices", "levels", "unsure", "instructions", "maximum",
)  # fmt: skip


class Inputs:
    """Makes inputs from a random number generator, `dice`."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)

    def text(self) -> str:
        """Return a text with the canary, or an odd text."""
        match self.dice.randrange(8):
            case 0:
                return self.dice.choice(ODD_TEXTS)
            case 1:
                return CANARY + self.dice.choice(ODD_TEXTS)
            case 2:
                return CANARY * self.dice.choice((2, 30, 400))
            case 3:
                return CANARY + "".join(chr(self.dice.randrange(0x11000)) for _ in range(8))
        return f"{self.dice.choice(WORDS)} {CANARY}"

    def answer(self) -> str:
        """Return a text as a model may write it, with the canary in it."""
        few = [self.dice.choice(PIECES) for _ in range(self.dice.choice((1, 3, 9, 30)))]
        times = self.dice.choice((1, 1, 1, 2, 50, 3_000))
        return "".join([CANARY, *few * times])[: self.dice.choice((200, 9_000, 100_000))]

    def value(self, depth: int = 0) -> Any:
        """Return any value that JSON or Python can express."""
        roll = self.dice.randrange(12 if depth < 4 else 6)
        if roll < 2:
            return self.text()
        if roll < 4:
            return self.dice.choice(ODD_NUMBERS)
        if roll < 6:
            return self.dice.choice((None, True, False, [], {}, "deny", "allow", "object"))
        if roll < 8:
            return [self.value(depth + 1) for _ in range(self.dice.randrange(4))]
        if roll < 11:
            return {self.key(): self.value(depth + 1) for _ in range(self.dice.randrange(4))}
        return self.deep()

    def key(self) -> str:
        """Return a key of a mapping."""
        return self.dice.choice(WORDS) if self.dice.random() < 0.7 else self.text()

    def deep(self) -> Any:
        """Return a value that is nested too deep, or nearly so."""
        value: Any = self.text()
        names = self.dice.choice((("properties", "a"), ("items",), ("anyOf",), ("a",)))
        for _ in range(self.dice.choice((5, 30, 90, 180, 900))):
            for name in names:
                value = [value] if name == "anyOf" else {name: value}
        return {"type": "object", **value} if isinstance(value, dict) else value

    def schema(self) -> dict[str, Any]:
        """Return a JSON Schema, which may be odd."""
        leaf = self.dice.choice(
            ({"type": "string", "description": CANARY}, {"enum": [CANARY, "b"]}, {"$ref": "#"},
             {"type": "array", "items": {"type": "number"}}, {"pattern": "(a+)+b"}, True)
        )  # fmt: skip
        return {"type": "object", "properties": {CANARY: leaf}, "required": [CANARY]}

    def request(self) -> dict[str, Any]:
        """Return a valid request with the canary in all its content."""
        turn = {"role": "user", "content": CANARY}
        match self.dice.choice(("classify", "extract", "summarize", "generate", "embed", "decide")):
            case "classify":
                return {"kind": "classify", "text": CANARY, "labels": [CANARY, {"name": "b"}]}
            case "extract":
                return {"kind": "extract", "text": CANARY, "schema": self.schema()}
            case "summarize":
                return {"kind": "summarize", "text": CANARY, "focus": CANARY, "max_words": 20}
            case "generate":
                extra = self.dice.choice(({}, {"schema": self.schema()}, {"regex": f"{CANARY}.*"}))
                return {"kind": "generate", "messages": [turn], "stop": [CANARY], **extra}
            case "decide":
                return {
                    "kind": "decide",
                    "state": self.dice.choice((CANARY, {CANARY: [CANARY, 1]}, [CANARY])),
                    "questions": self.questions(),
                }
        return {"kind": "embed", "texts": [CANARY, "b"]}

    def questions(self) -> list[dict[str, Any]]:
        """Return a question of each type, with the canary in all its content."""
        said = {"instructions": CANARY, "unsure": self.dice.random() < 0.5}
        levels = self.dice.choice(({"levels": [CANARY, "b"]}, {"minimum": 0, "maximum": 3}))
        return [
            {"type": "predicate", "name": f"{CANARY} a", "yes": CANARY, **said},
            {"type": "choice", "name": f"{CANARY} b", "choices": [CANARY, {"name": "b"}], **said},
            {"type": "score", "name": f"{CANARY} c", **levels, **said},
        ]

    def job(self) -> dict[str, Any]:
        """Return a valid job as JSON data."""
        more: dict[str, Any] = {
            "egress": self.dice.choice(("deny", "allow")),
            "deadline": "2100-01-01T00:00:00Z",
            "max_cost_usd": 1e-300,
            "idempotency_key": f"{CANARY}{self.dice.random()}",
            "cache": True,
            "metadata": {CANARY: CANARY},
            "priority": "bulk",
        }
        some = {key: value for key, value in more.items() if self.dice.random() < 0.5}
        return {"tenant": TENANT, "request": self.request(), **some}

    def near(self, good: Any) -> Any:
        """Return the same data with a few mistakes in it."""
        bad = deepcopy(good)
        for _ in range(self.dice.choice((1, 1, 2, 4))):
            self._spoil(bad)
        return bad

    def _spoil(self, root: Any) -> None:
        """Change one random place. Every place can be chosen, though not evenly."""
        node = root
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = self.dice.choice(keys)
            if isinstance(node[key], dict | list) and self.dice.random() < 0.7:
                node = node[key]
                continue
            if self.dice.random() < 0.2:
                del node[key]
                return
            node[key] = self.value()
            break
        if isinstance(node, dict) and self.dice.random() < 0.3:
            node[self.key()] = self.value()

    def json(self, data: Any) -> bytes:
        """Return data as JSON text, possibly damaged."""
        try:
            text = json.dumps(data, ensure_ascii=self.dice.random() < 0.5)
        except (ValueError, RecursionError):  # a number of too many digits; too deep
            text = "[" * 5_000 + f'"{CANARY}"'
        return self.broken(text.encode("utf-8", "surrogatepass"))

    def broken(self, data: bytes) -> bytes:
        """Return the bytes, in four of six cases damaged."""
        at = self.dice.randrange(len(data) + 1)
        match self.dice.randrange(6):
            case 0:
                return data[:at]
            case 1:
                return data[:at] + self.dice.randbytes(3) + data[at:]
            case 2:
                return (
                    data[:at] + self.dice.choice((b"\x00", b'"', b"{", b"[[", b"\xff")) + data[at:]
                )
            case 3:
                return data[:at] + data[at // 2 :]
        return data

    def toml(self, good: str) -> bytes:
        """Return a TOML file with a few lines changed, possibly damaged."""
        lines = good.splitlines()
        for _ in range(self.dice.choice((1, 1, 2, 5))):
            at = self.dice.randrange(len(lines))
            name = lines[at].partition("=")[0]
            odd = ("9" * 5_000, "nan", "inf", "-1", "[[", "1e999", '"\\ud800"',
                   "{a={b=1}}", "[" * 400, '"odd"', "0x" + "f" * 400, "1979-05-27",
                   "true", "'", '"""', "[1,2]")  # fmt: skip
            lines[at : at + self.dice.randrange(2)] = [
                self.dice.choice(
                    (f"{name} = {self.dice.choice(odd)}", lines[at], f"[{name.strip()}]", "odd")
                )
            ]
        return self.broken("\n".join(lines).encode())
