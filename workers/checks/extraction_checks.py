"""The checks of an extraction. Each fires only if the text or the schema is evidence of a fault."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from forebay.routing.jobs import Extract
from forebay.routing.json_schemas import MAX_SCHEMA_DEPTH
from forebay.routing.json_tree import Path, leaves, leaves_by_path, nodes, subschemas
from forebay.workers.checks.formats import misformatted
from forebay.workers.checks.grounding import Source
from forebay.workers.checks.options import Options
from forebay.workers.checks.reading.dates import dates
from forebay.workers.checks.reading.denials import denies
from forebay.workers.checks.reading.number_words import speaks_of_a_scale
from forebay.workers.checks.reading.numerals import normalized
from forebay.workers.checks.reading.words import is_visible, words
from forebay.workers.checks.repetition import repeats_itself
from forebay.workers.checks.safe_validation import violation

MAX_DENIED = 20  # options of one answer that the text is searched for
MIN_LOOP_OBJECTS = 4  # a list of so many objects, half of them or more equal, is a loop

#: Words that share one value among fields: `bill and ship to: Leeds`.
_SHARING = re.compile(
    r"\b(?:and|both|same|also|too|likewise|und|beide|gleich\w*|auch|et|m\u00eames?|aussi|y|mism[oa]"
    r"|tambi\u00e9n|ambos|ambas|e|stess\w*|anche|en\s+(?-i:[a-z])|zelfde|mesm\w+|tamb\u00e9m"
    r"|as above|ditto)\b|[/&=]",
    re.IGNORECASE,
)
_NOTHING_VALUES = re.compile(
    r"(?:none|nothing|no|n/?a|nil|null|unknown|not|tbd|keine?r?|nichts?|unbekannt|aucune?|rien|sans"
    r"|ning\w+|nada|sin|nessun\w*|nulla|nenhum\w*|sem|geen)\b|\W*$",
    re.IGNORECASE,
)
#: A word with a digit, or a capitalised word that begins no sentence.
_OTHER_VALUE = re.compile(r"\d|(?<![.!?\s])\s+[^\W\d_a-z\u00df-\u00ff]\w*|[^\x00-\u024f]")
#: A schema with such a word asks for what the text denies, or expected.
_ASKS_FOR_DENIALS = re.compile(
    r"exclu|deni|absen|without|ruled|missing|lack|unaffected|expect|fear|hope|predict"
    r"|(?:\b|_)(?:not?|none)(?:\b|_)",
    re.IGNORECASE,
)
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]++@[\w-]++\.\w")
_LINK = re.compile(r"https?://\S")


def faults(request: Extract, data: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Yield the name of each check, and what is wrong; `None` if nothing is."""
    source, values = Source(request.text), list(leaves(data))
    parts = leaves_by_path(data, max_depth=MAX_SCHEMA_DEPTH)
    fields = {path: part for path, part in parts.items() if not isinstance(part, dict | list)}
    yield "schema", schema_fault(request.schema_, data)
    yield "filled", "no field has a value" if _is_unfilled(request, data) else None
    yield "grounded", _ungrounded(request, source, fields)
    shared = _has_equal_fields(request, source, data)
    yield "distinct", "two fields have the same text" if shared else None
    looped = any(repeats_itself(value) for value in values if isinstance(value, str))
    looped = looped or any(_mostly_equal(items, source) for items in _lists(data))
    yield "repetition", "repeats itself" if looped else None


def schema_fault(schema: dict[str, Any], data: Any) -> str | None:
    """Return the keyword that the data violates, or why it is no JSON; `None` if it validates."""
    if not _is_json(data):
        return "cannot be written as JSON"
    error = violation(schema, data)
    return error or ("format" if misformatted(schema, data) else None)


def _is_json(data: Any) -> bool:
    """Return False for infinity, NaN and half characters: a JSON writer makes null of them."""
    names = (name for node in nodes(data) if isinstance(node, dict) for name in node)
    return not any(
        not math.isfinite(value) if isinstance(value, float) else _has_half_character(value)
        for value in (*leaves(data), *names)
    )


def _has_half_character(value: Any) -> bool:
    return isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value)


# --- filled --------------------------------------------------------------------------------------


def _is_unfilled(request: Extract, data: dict[str, Any]) -> bool:
    """Return whether nothing has a value although the text has some, or empty texts stand for it.

    `[]`, null and an absent field are good answers if the text says nothing.
    """
    values = list(leaves(data))
    if any(value is not None and not _is_empty_text(value) for value in values):
        return False
    if values and all(_is_empty_text(value) for value in values):
        return True
    properties = request.schema_.get("properties")
    fields = properties.items() if isinstance(properties, dict) else ()
    return any(_is_in_text(name, part, request.text) for name, part in fields)


def _is_empty_text(value: Any) -> bool:
    return isinstance(value, str) and not is_visible(value)


def _is_in_text(name: str, schema: Any, text: str) -> bool:
    """Return whether the text gives a field: `Name: …`, or the one thing of the field's format."""
    formats = {str(node.get("format")) for node in nodes(schema) if isinstance(node, dict)}
    if formats & {"date", "date-time"} and any(True for _ in dates(text)):
        return True
    if "email" in formats and _EMAIL.search(text):
        return True
    if formats & {"uri", "iri"} and _LINK.search(text):
        return True
    label = r"[\s_-]+".join(map(re.escape, words(name.replace("_", " "))))
    given = re.search(rf"\b{label}\s*[:=]", text, re.IGNORECASE) if label else None
    return given is not None and _has_value_after(text, given.end())


def _has_value_after(text: str, start: int) -> bool:
    rest = text[start:].split("\n", maxsplit=1)[0].strip()
    return is_visible(rest) and not _NOTHING_VALUES.match(rest)


# --- grounded ------------------------------------------------------------------------------------


def _ungrounded(request: Extract, source: Source, fields: Mapping[Path, Any]) -> str | None:
    listed, values = list(_values_in_schema(request.schema_)), list(fields.values())
    allowed = [Options(options, source) for options in listed]
    schema_text = json.dumps(request.schema_, ensure_ascii=False)
    unscaled = speaks_of_a_scale(schema_text)
    asked = _Computed(request.schema_, source)
    known = partial(_is_grounded, source, allowed, unscaled=unscaled)
    missing = [path for path, value in fields.items() if not known(value, computed=False)]
    absent = sum(not (asked.by(path) and known(fields[path], computed=True)) for path in missing)
    if absent:
        return f"{absent} values are not in the text"
    if _ASKS_FOR_DENIALS.search(schema_text):
        return None
    chosen = {value for value in values if isinstance(value, str) and _is_option(value, listed)}
    denied = sum(denies(request.text, value) for value in sorted(chosen)[:MAX_DENIED])
    return f"the text denies {denied} values" if denied else None


def _is_option(value: str, listed: Iterable[Sequence[Any]]) -> bool:
    """Return whether the schema lists the value beside others."""
    return any(len(options) > 1 and value in options for options in listed)


class _Computed:
    """Which fields may hold a computed number, by their names and what the schema says of them."""

    def __init__(self, schema: dict[str, Any], source: Source) -> None:
        self._source = source
        self._known: dict[str, bool] = {}
        self._said: dict[str, str] = {}
        for _, node in subschemas(schema):
            for name, part in (node.get("properties") or {}).items():
                texts = (part.get(word) for word in ("title", "description") if _is_schema(part))
                self._said[name] = " ".join(text for text in texts if isinstance(text, str))

    def by(self, path: Path) -> bool:
        name = next((str(step) for step in reversed(path) if isinstance(step, str)), "")
        if name not in self._known:
            self._known[name] = self._source.may_compute(name, self._said.get(name, ""))
        return self._known[name]


def _is_schema(part: Any) -> bool:
    return isinstance(part, dict)


def _is_grounded(
    source: Source,
    allowed: Sequence[Options],
    value: Any,
    *,
    unscaled: bool,
    computed: bool,
) -> bool:
    """Return whether the text has the value.

    A value that the schema lists is grounded too, unless the text names another one of the list.
    """
    if value is None or isinstance(value, bool) or _is_empty_text(value):
        return True
    options = next((options for options in allowed if value in options), None)
    if options is not None:
        return not options.named or value in options.named
    if isinstance(value, str):
        return source.has_text(value, computed=computed)
    return source.has_number(value, unscaled=unscaled, computed=computed)


def _values_in_schema(schema: Any) -> Iterator[list[Any]]:
    """Yield the lists of values that a schema gives: each `enum`, and `const` and `default`."""
    for node in nodes(schema):
        if isinstance(node, dict):
            enum = node.get("enum")
            yield from [enum] if isinstance(enum, list) else []
            yield from [[node["const"]]] if "const" in node else []
            given = node.get("default")
            yield from [[given]] if given is not None and not isinstance(given, bool) else []


# --- distinct ------------------------------------------------------------------------------------


def _has_equal_fields(request: Extract, source: Source, data: dict[str, Any]) -> bool:
    """Return whether one text fills two fields, as a model does that has found nothing else.

    Two fields are rightly equal if the text has the value as often, or says that they share it.
    """
    allowed = [value for values in _values_in_schema(request.schema_) for value in values]
    filled = [value for value in data.values() if isinstance(value, str) and is_visible(value)]
    uses = Counter(value for value in filled if value not in allowed)
    return any(
        number > 1 and _is_used_too_often(value, number, request.text, source)
        for value, number in uses.items()
    )


def _is_used_too_often(value: str, number: int, text: str, source: Source) -> bool:
    occurrences = source.count_text(value)
    if not 0 < occurrences < number or not any(char.isalpha() for char in value):
        return False
    phrase = _spaced(value)
    lines = [line for line in re.split(r"\n|[.!?;]\s", text) if phrase in _spaced(normalized(line))]
    is_shared = any(_SHARING.search(line.replace(value, " ")) for line in lines)
    return not is_shared and _OTHER_VALUE.search(text.replace(value, " ")) is not None


def _spaced(text: str) -> str:
    return f" {' '.join(words(text))} "


# --- repetition ----------------------------------------------------------------------------------


def _lists(document: Any) -> Iterator[list[Any]]:
    return (node for node in nodes(document) if isinstance(node, list))


def _mostly_equal(items: list[Any], source: Source) -> bool:
    """Return whether half of the objects of a list are equal, more often than the text says."""
    objects = [json.dumps(item, sort_keys=True) for item in items if isinstance(item, dict)]
    if len(objects) < MIN_LOOP_OBJECTS or len(set(objects)) > len(objects) // 2:
        return False
    most, number = Counter(objects).most_common(1)[0]
    texts = [value for value in leaves(json.loads(most)) if isinstance(value, str)]
    return not texts or any(source.count_text(value) < number for value in texts)
