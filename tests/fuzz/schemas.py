"""Random JSON Schemas by a grammar of the language, and documents that answer them.

Every keyword is nested in every other one, ordinary values beside hostile ones: patterns that
backtrack, references that multiply, parts without number.
"""

from __future__ import annotations

import random
from typing import Any

NAMES = ("a", "b", "c", "a" * 40 + "!")
PATTERNS = ("^[a-z]+$", "^(a+)+$", "^(a|aa)+$", "(.*a.{9}b)", "^(\\w+\\s?)*$", "x", "^.{0,9}$")
FORMATS = ("date", "email", "regex", "uuid", "uri", "date-time", "ipv4", "odd")
TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
VALUES = (None, True, 0, 1, -1.5, 10**30, "", "a", "a" * 40 + "!", [], {}, {"a": 1})
MAX_LEVELS = 6


class Schemas:
    """Makes schemas and documents from a random number generator."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice

    def pair(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the schema of an object, and a document that may answer it."""
        schema = self.tower() if self.dice.random() < 0.2 else self.schema(0)
        defs = {f"d{n}": self.schema(3) for n in range(3)}
        document = self.document(0)
        root = {**(schema if isinstance(schema, dict) else {}), "type": "object", "$defs": defs}
        return root, document if isinstance(document, dict) else {"a": document}

    def tower(self) -> dict[str, Any]:
        """Return a schema in which a few keywords are nested many levels deep."""
        schema: Any = self.schema(4)
        steps = [self.dice.choice(self._applicators()) for _ in range(self.dice.choice((1, 2)))]
        beside = self.dice.choice(({}, {"unevaluatedProperties": False}, {"uniqueItems": True}))
        for level in range(self.dice.choice((5, 12, 22))):
            schema = {**beside, **steps[level % len(steps)](lambda inner=schema: inner)}
        return schema

    def schema(self, level: int) -> Any:
        """Return a schema of a few keywords."""
        if level >= MAX_LEVELS or self.dice.random() < 0.1:
            return self.dice.choice((True, False, {}, {"type": "string"}))
        schema: dict[str, Any] = {}
        if self.dice.random() < 0.6:
            schema["type"] = self.dice.choice(TYPES)
        for _ in range(self.dice.randrange(4)):
            if self.dice.random() < 0.5:
                schema |= self.assertion()
            else:
                schema |= self.dice.choice(self._applicators())(lambda: self.schema(level + 1))
        return schema

    def assertion(self) -> dict[str, Any]:
        """Return one keyword that holds no schema."""
        dice, number = self.dice, self.dice.choice((0, 1, 2, 9, 1_000))
        return dice.choice(
            (
                {"enum": [dice.choice(VALUES) for _ in range(dice.choice((1, 3, 400)))]},
                {"const": dice.choice(VALUES)},
                {"pattern": dice.choice(PATTERNS)},
                {"format": dice.choice(FORMATS)},
                {"uniqueItems": True},
                {"minItems": number}, {"maxItems": number},
                {"minLength": number}, {"maxLength": number},
                {"minimum": number}, {"multipleOf": dice.choice((1, 0.1, 7, 1e-9))},
                {"required": list({dice.choice(NAMES) for _ in range(2)})},
                {"minProperties": number}, {"dependentRequired": {"a": ["b"]}},
                {"$ref": dice.choice(("#", "#/$defs/d0", "#/$defs/d1", "#/$defs/none"))},
                {"$dynamicRef": "#/$defs/d2"}, {"$anchor": f"x{dice.randrange(9)}"},
                {"description": "a" * number}, {"default": dice.choice(VALUES)},
            )
        )  # fmt: skip

    def _applicators(self) -> tuple[Any, ...]:
        """Return the keywords that hold schemas; each is called with what makes a schema."""
        dice = self.dice

        def several(make: Any) -> list[Any]:
            return [make() for _ in range(dice.choice((1, 1, 2, 3)))]

        def named(make: Any) -> dict[str, Any]:
            return {dice.choice(NAMES): make() for _ in range(2)}

        return (
            lambda make: {"allOf": several(make)},
            lambda make: {"anyOf": several(make)},
            lambda make: {"oneOf": several(make)},
            lambda make: {"not": make()},
            lambda make: {"if": make(), "then": make(), "else": make()},
            lambda make: {"properties": named(make)},
            lambda make: {"patternProperties": {dice.choice(PATTERNS): make()}},
            lambda make: {"additionalProperties": make()},
            lambda make: {"unevaluatedProperties": make()},
            lambda make: {"propertyNames": make()},
            lambda make: {"dependentSchemas": named(make)},
            lambda make: {"items": make()},
            lambda make: {"prefixItems": several(make)},
            lambda make: {"unevaluatedItems": make()},
            lambda make: {"contains": make(), "minContains": dice.randrange(3)},
        )

    def document(self, level: int) -> Any:
        """Return a JSON document; one in some dozens is large."""
        roll = self.dice.randrange(40)
        if level == 0 and roll == 0:
            return {"a": [{"n": n, "t": "x" * 20} for n in range(20_000)]}
        if level == 0 and roll == 1:
            return {"a": self.dice.choice(("ab ", "a", "1/2/2024 ")) * 100_000}
        if level >= MAX_LEVELS or roll < 10:
            return self.dice.choice(VALUES)
        if roll < 18:
            return [self.document(level + 1) for _ in range(self.dice.choice((0, 1, 3, 20)))]
        return {self.dice.choice(NAMES): self.document(level + 1) for _ in range(3)}
