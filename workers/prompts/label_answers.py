"""Find the one label in a model's text: alone, numbered, in JSON, or before an explanation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from forebay.routing.errors import BadAnswer
from forebay.workers.checks.reading.normal_form import nfkc
from forebay.workers.prompts.json_answers import document, without_fence, without_thoughts

_OPENING = re.compile(
    r"\A(?:(?:sure|certainly|okay|ok)[,!.]?\s+)?(?:based on [^,\n]{1,80},\s+)?"
    r"(?:(?:i(?:['\u2019]d| would| will)? (?:say|choose|pick|classify (?:this|it)(?: as)?)"
    r"|(?:i (?:think|believe)(?: that)?\s+)?(?:it['\u2019]s|(?:this|it|the text) "
    r"(?:is|would be|belongs to|falls under|should be label+ed(?: as)?)))\s+)?"
    r"(?:the\s+)?(?:(?:best|correct|right|final|most fitting|predicted)\s+)?"
    r"(?:(?:label|category|class|answer|classification)\b"
    r"(?:\s+(?:is|would be)\b)?\s*[*\"'`]*\s*[:=]?\s*)?",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\A\(?(\d{1,3}|[a-zA-Z])[.):]\s+")
_TAGGED = re.compile(r"\A<(\w+)>([^<]*)</\1>\Z")
_BECAUSE = (
    r"(?:because|since|as|due to|given|weil|da|denn|parce|car|porque|perch\u00e9)\b"
    "|\u56e0\u4e3a|\u7531\u4e8e|\u306a\u305c\u306a\u3089"
)
_EXPLANATION = re.compile(
    r"\s*\((?!\s*or\b)|"
    rf"(?:[.:;!]?\s*\n|[.:;!]\s+|\s+[-\u2013\u2014]\s+|,?\s+(?={_BECAUSE})|,\s*(?={_BECAUSE}|not\b))"
    r"(?!\s*(?:or|and|no|yes|true|false|n/a|nor|maybe|possibly|oder|und|nein|ja|ou|o|y|et|\d)\b)"
    r"(?!\s*not\s+(?:applicable|sure|this)\b)",
    re.IGNORECASE,
)
_NEXT_PART = re.compile(r"[\n.;,:]\s|\n|\s[-\u2013\u2014]\s")
_EDGES = (
    " \t\r\n\"'`*.:_,;!#<>()[]-\u2022\u2013\u201c\u201d\u2018\u2019\u201e\u00ab\u00bb"
    "\u3002\u300c\u300d\ufeff\u200b"
)


def label(names: list[str], text: str) -> str:
    """Return the label that the text names.

    Raises:
        BadAnswer: The text names no label, or leaves a choice.
    """
    if text in names:  # as a constraint ensures
        return text
    text = without_thoughts(text)
    if (match := _match(names, text)) is not None:  # mostly, the text is a label and nothing else
        return match
    forms = [text, *_forms(names, text)]
    for form in forms[1:]:
        if (match := _match(names, form)) is not None:
            return match
    for form in forms:
        if (match := _before_explanation(names, form)) is not None:
            return match
    raise BadAnswer("the answer is none of the labels")


def _forms(names: list[str], text: str) -> Iterator[str]:
    """Yield the parts of a text that may be the label, likely ones first."""
    yield without_fence(text)
    yield from _texts_in_json(text)
    if tagged := _TAGGED.match(text):
        yield tagged[2]
    for line in (text, *text.splitlines()[-1:]):
        bare = line.strip(_EDGES)
        opened = _OPENING.sub("", bare)
        if line is text or opened != bare:
            yield opened
            number = _NUMBER.match(opened.strip())
            # A number that is a label itself may be the answer, so what follows is not.
            if number and _match(names, number[1]) is None:
                yield opened.strip()[number.end() :]


def _texts_in_json(text: str) -> Iterator[str]:
    """Yield the text in an answer such as `{"label": "Refund"}` or `["Refund"]`."""
    if "{" not in text and "[" not in text:
        return
    try:
        data: Any = document(text).data
    except BadAnswer:
        return
    values = list(data.values()) if isinstance(data, dict) else data
    named = data.get("label") if isinstance(data, dict) else None
    texts = [value for value in values if isinstance(value, str)] if data else []
    yield from [named] if isinstance(named, str) else texts if len(texts) == 1 else []


def _match(names: list[str], form: str) -> str | None:
    """Return the one label that a text is: exactly, in another case, or with marks around it."""
    if form.strip() in names:
        return form.strip()
    for fold in (_cased, _folded):
        wanted = fold(form)
        matches = [name for name in names if fold(name) == wanted]
        if matches:
            return matches[0] if len(matches) == 1 else None
    return None


def _before_explanation(names: list[str], text: str) -> str | None:
    """Return the label that a text begins with, if an explanation follows and no other label."""
    answer = nfkc(text).lstrip(_EDGES).casefold()
    for name in sorted(names, key=len, reverse=True):
        start = _cased(name).lstrip(_EDGES) or _cased(name)
        match = re.match(rf"{re.escape(start)}[\"'`*)\]\u201d\u2019]*(?![\w+#])", answer)
        if match is None:
            continue
        rest = answer[match.end() :]
        if not _EXPLANATION.match(rest) or _names_another(names, name, rest):
            return None
        return name if [_cased(each) for each in names].count(_cased(name)) == 1 else None
    return None


def _names_another(names: list[str], name: str, rest: str) -> bool:
    """Return whether the first thing after a label is another label: that leaves a choice."""
    first = _folded(_NEXT_PART.split(rest.strip(_EDGES), maxsplit=1)[0])
    others = {_folded(other) for other in names if other != name}
    return first in others or any(first.startswith(f"{other} ") for other in others)


def _cased(text: str) -> str:
    return " ".join(nfkc(text).casefold().split())


def _folded(text: str) -> str:
    text = nfkc(text)
    return " ".join((text.strip(_EDGES) or text).casefold().split())
