"""The formats of JSON Schema that jsonschema checks only with optional packages, or loosely.

`date`, `ipv4`, `ipv6`, `uuid` and `regex` are jsonschema's; see `safe_validation`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any
from urllib.parse import unquote, urlsplit

MAX_STEPS = 100_000  # nodes of schema and data that are visited together, lest `$ref` never ends
MAX_HOSTNAME_CHARS = 253

_TIME = re.compile(
    r"([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)(?:\.\d+)?(?:Z|([+-])([01]\d|2[0-3]):([0-5]\d))",
    re.IGNORECASE | re.ASCII,
)
_DATE_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](.+)", re.ASCII)
_DURATION = re.compile(
    r"P(?:\d+W|(?=[\dT])(?:\d+Y)?(?:\d+M)?(?:\d+D)?"
    r"(?:T(?=\d)(?:\d+H)?(?:\d+M)?(?:\d+(?:\.\d+)?S)?)?)",
    re.ASCII,
)
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.IGNORECASE | re.ASCII)
_ATOM = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*", re.ASCII)
_IDN_ATOM = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*")
_QUOTED = re.compile(r'"(?:[^"\\\x00-\x1f]|\\[\x20-\x7e])*"')
_ADDRESS = re.compile(r"\[(?:IPv6:)?[0-9a-f.:]+\]", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE | re.ASCII)
_URI_CHARS = r"(?:[\w.~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*"
_URI = re.compile(_URI_CHARS, re.ASCII)
_IRI = re.compile(_URI_CHARS.replace(r"\w", r"\w\u00a1-\ud7ff\ue000-\U0010ffff"))
_TEMPLATE = re.compile(
    r"(?:[^{}\s\"'<>\\^`|]|%[0-9A-Fa-f]{2}"
    r"|\{[+#./;?&]?[\w.%]+(?::[1-9]\d{0,3}|\*)?(?:,[\w.%]+(?::[1-9]\d{0,3}|\*)?)*\})*"
)
#: OpenAPI's formats of whole numbers, and of bytes in Base64.
_BITS = {"int32": 32, "int64": 64}
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)*")
_RELATIVE_POINTER = re.compile(r"(?:0|[1-9]\d*)(?:#|(?:/(?:[^~/]|~[01])*)*)", re.ASCII)


def misformatted(schema: Any, data: Any) -> str | None:
    """Return a format that the schema asks for and the data violates; `None` if there is none.

    The data validates against the schema but for formats. What cannot be decided in
    `MAX_STEPS` steps counts as right.
    """
    walk = _Walk(schema)
    try:
        return walk.violation(schema, data)
    except RecursionError:
        return None


class _Walk:
    """Visits a schema and its data together."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._steps = 0

    def violation(self, schema: Any, data: Any) -> str | None:
        self._steps += 1
        if not isinstance(schema, dict) or self._steps > MAX_STEPS:
            return None
        name = schema.get("format")
        if isinstance(name, str) and not _conforms(name, data):
            return name
        parts = (*self._applied(schema, data), *_members(schema, data))
        found = (self.violation(part, value) for part, value in parts)
        return next((name for name in found if name), None) or self._of_choices(schema, data)

    def _applied(self, schema: dict[str, Any], data: Any) -> Iterator[tuple[Any, Any]]:
        """Yield the other schemas that hold for the same data."""
        if isinstance(schema.get("$ref"), str):
            yield self._referenced(schema["$ref"]), data
        for part in _list(schema.get("allOf")):
            yield part, data

    def _of_choices(self, schema: dict[str, Any], data: Any) -> str | None:
        """Return a violation if every branch that the data may take has one."""
        for keyword in ("anyOf", "oneOf"):
            branches = [part for part in _list(schema.get(keyword)) if self._may_take(part, data)]
            found = [self.violation(part, data) for part in branches]
            if found and all(found):
                return found[0]
        return None

    def _may_take(self, schema: Any, data: Any) -> bool:
        if not isinstance(schema, dict) or "$ref" in schema:
            return schema is not False
        types = schema.get("type")
        names = types if isinstance(types, list) else [types]
        return types is None or any(_has_type(data, name) for name in names)

    def _referenced(self, reference: str) -> Any:
        """Return the part of the schema that a local reference (`#/$defs/x`) leads to, if any."""
        node = self._root
        if not reference.startswith("#"):
            return None
        for step in unquote(reference[1:]).split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            node = node.get(name) if isinstance(node, dict) else None
        return node


def _members(schema: dict[str, Any], data: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the schema and the value of each member of an object, or each item of a list."""
    if isinstance(data, dict):
        named = schema.get("properties")
        named = named if isinstance(named, dict) else {}
        others = schema.get("additionalProperties")
        others = None if "patternProperties" in schema else others
        for name, value in data.items():
            yield named.get(name, others), value
    elif isinstance(data, list):
        first = _list(schema.get("prefixItems"))
        yield from zip(first, data, strict=False)
        yield from ((schema.get("items"), item) for item in data[len(first) :])


def _list(node: Any) -> list[Any]:
    return node if isinstance(node, list) else []


_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str, "object": dict, "array": list, "boolean": bool, "null": type(None),
    "number": (int, float), "integer": (int, float),
}  # fmt: skip


def _has_type(data: Any, name: Any) -> bool:
    if isinstance(data, bool):
        return bool(name == "boolean")
    known = _TYPES.get(name) if isinstance(name, str) else None
    return known is not None and isinstance(data, known)


# --- formats -------------------------------------------------------------------------------------


def _conforms(name: str, data: Any) -> bool:
    """Return whether a text or a number has a format. Unknown formats say nothing."""
    if type(data) is int and name in _BITS:
        return data.bit_length() < _BITS[name] or data == -(2 ** (_BITS[name] - 1))
    is_valid = _FORMATS.get(name) if isinstance(data, str) else None
    try:
        return is_valid(data) if is_valid else True
    except ValueError:  # of the parsers of dates and addresses
        return False


def _is_date_time(text: str) -> bool:
    match = _DATE_TIME.fullmatch(text)
    return bool(match and date.fromisoformat(match[1]) and _is_time(match[2]))


def _is_time(text: str) -> bool:
    """Return whether a text is a `full-time` of RFC 3339: with its offset from UTC."""
    match = _TIME.fullmatch(text)
    if match is None or match[3] != "60":
        return match is not None
    offset = int(match[5] or 0) * 60 + int(match[6] or 0)
    minutes: int = int(match[1]) * 60 + int(match[2]) - (-offset if match[4] == "-" else offset)
    return minutes % (24 * 60) == 23 * 60 + 59  # a leap second


def _is_hostname(text: str) -> bool:
    return len(text) <= MAX_HOSTNAME_CHARS and all(map(_LABEL.fullmatch, text.split(".")))


def _is_idn_hostname(text: str) -> bool:
    labels = text.replace("\u3002", ".").split(".")
    has_edges = any(label[:1] == "-" or label[-1:] == "-" for label in labels)
    return not has_edges and _is_hostname(".".join(labels).encode("idna").decode("ascii"))


def _is_email(text: str) -> bool:
    local, _, host = text.rpartition("@")
    is_local = len(local) <= 64 and (_ATOM.fullmatch(local) or _QUOTED.fullmatch(local))  # noqa: PLR2004
    return bool(is_local) and (_is_hostname(host) or _ADDRESS.fullmatch(host) is not None)


def _is_idn_email(text: str) -> bool:
    local, _, host = text.rpartition("@")
    return bool(_IDN_ATOM.fullmatch(local)) and _is_idn_hostname(host)


def _is_reference(text: str, *, chars: re.Pattern[str] = _URI) -> bool:
    """Return whether a text is a URI or a relative one. Parsing raises on a bad host or port."""
    if not chars.fullmatch(text) or text.count("#") > 1:
        return False
    parts = urlsplit(text)
    rest = parts.path + parts.query + parts.fragment
    first = text.split("/", maxsplit=1)[0]
    is_path = bool(parts.scheme) or ":" not in re.split("[?#]", first)[0]
    return is_path and not re.search(r"[\[\]]", rest) and (parts.port is None or parts.port >= 0)


def _is_uri(text: str) -> bool:
    return _SCHEME.match(text) is not None and _is_reference(text)


def _is_iri(text: str) -> bool:
    return _SCHEME.match(text) is not None and _is_reference(text, chars=_IRI)


def _matches(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.fullmatch(text) is not None


_FORMATS: dict[str, Callable[[str], bool]] = {
    "byte": _matches(_BASE64),
    "date-time": _is_date_time,
    "time": _is_time,
    "duration": _matches(_DURATION),
    "email": _is_email,
    "idn-email": _is_idn_email,
    "hostname": _is_hostname,
    "idn-hostname": _is_idn_hostname,
    "uri": _is_uri,
    "uri-reference": _is_reference,
    "iri": _is_iri,
    "iri-reference": lambda text: _is_reference(text, chars=_IRI),
    "uri-template": _matches(_TEMPLATE),
    "json-pointer": _matches(_POINTER),
    "relative-json-pointer": _matches(_RELATIVE_POINTER),
}
