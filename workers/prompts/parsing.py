"""From a model's text to content of the job's kind. Lenient with formatting, strict with substance.

A label in another case, JSON inside a code fence and a polite opening line are accepted. Whatever
would need a guess raises `BadAnswer`.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from pydantic_core import PydanticSerializationError

from forebay.routing.errors import BadAnswer
from forebay.routing.jobs import (
    Classification,
    Classify,
    Content,
    Extract,
    Extraction,
    Generate,
    Generation,
    Job,
    Summarize,
    Summary,
)
from forebay.workers.checks.reading.words import counted_words, ends_sentence
from forebay.workers.engines.engine import Ending
from forebay.workers.prompts.json_answers import document, without_fence, without_thoughts

_LABEL_OPENING = re.compile(
    r"\A(?:(?:i(?:['\u2019]d| would| will)? (?:say|choose|pick|classify (?:this|it)(?: as)?)"
    r"|(?:this|it|the text) (?:is|would be|belongs to|falls under))\s+)?"
    r"(?:the\s+)?(?:(?:best|correct|right|final|most fitting|predicted)\s+)?"
    r"(?:(?:label|category|class|answer|classification)\b"
    r"(?:\s+(?:is|would be)\b)?\s*[*\"'`]*\s*[:=]?\s*)?",
    re.IGNORECASE,
)
_LABEL_NUMBER = re.compile(r"\A\(?(?:\d{1,3}|[a-zA-Z])(?:[.)]|:)\s+")
_EXPLANATION = re.compile(
    r"(?:[.:;!]?\s*\n|[.:;!]\s+|\s*\(|\s+[-\u2013\u2014]\s+"
    r"|,?\s+(?=(?:because|since|as|due to|given|weil|da|denn|parce|car|porque|perch\u00e9)\b))"
    r"(?!\s*(?:or|and|but|no|not|nor|maybe|possibly|oder|und|nicht|ou|o|y|et)\b)",
    re.IGNORECASE,
)
_OPENING = re.compile(
    r"\A(?:the\s+)?(?:label|category|class|answer)(?:\s+is)?\s*:?\s+", re.IGNORECASE
)
_OPENING = re.compile(
    r"\A(?:sure[,!.]?\s+)?"
    r"(?:here(?:['\u2019]s| is)\b[^\n:]{0,80}|(?:the |a )?summary[^\n:]{0,40}):\s*",
    re.IGNORECASE,
)
_SENTENCE = re.compile(
    r"\S.*?(?:[.!?\u2026][\"'\u201d\u2019)]*(?=\s)|$|[\u3002\uff01\uff1f])", re.DOTALL
)
_EDGES = (
    " \t\r\n\"'`*.:_,;!#>\u201c\u201d\u2018\u2019\u201e\u00ab\u00bb\u3002\u300c\u300d\ufeff\u200b"
)


def parse_answer(
    job: Job,
    text: str,
    *,
    option_logprobs: Mapping[str, float] | None = None,
    finish: Ending = "stop",
) -> Content:
    """Return the content that a model's text stands for.

    Args:
        job: the job that the text answers.
        text: the model's text.
        option_logprobs: natural-log probability of each label, if the engine scored them.
        finish: `length` if the model was cut off.

    Raises:
        BadAnswer: The text cannot be read as an answer of this kind.
    """
    text = _with_whole_characters(text)
    match job.request:
        case Classify() as request:
            return _classification(request, text, option_logprobs)
        case Extract():
            return _extraction(text)
        case Summarize() as request:
            return Summary(text=_summary(without_thoughts(text), request.max_words, finish))
        case Generate() as request:
            return Generation(text=_generated(request, text), finish=finish)
        case _:
            raise BadAnswer("no text answers a job of this kind")


def _with_whole_characters(text: str) -> str:
    """Return the text with U+FFFD for each half of a surrogate pair: no half can be stored."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _classification(
    request: Classify, text: str, logprobs: Mapping[str, float] | None
) -> Classification:
    names = [option.name for option in request.options]
    label = _label(names, text)
    if not logprobs or not set(names) <= logprobs.keys():
        # A frontier model gives no probability with its label.
        return Classification(label=label)
    scores = _softmax({name: logprobs[name] for name in names})
    return Classification(label=label, probability=scores[label], scores=scores)


def _softmax(logprobs: Mapping[str, float]) -> dict[str, float]:
    """Return probabilities that add up to 1; even ones if every label is impossible."""
    top = max(logprobs.values())
    if not math.isfinite(top):
        return dict.fromkeys(logprobs, 1 / len(logprobs))
    weights = {name: math.exp(logprob - top) for name, logprob in logprobs.items()}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def _label(names: list[str], text: str) -> str:
    """Return the label that the text names: alone, in JSON, or before an explanation."""
    text = without_thoughts(text)
    for form in (text, *_label_forms(text)):
        if form.strip() in names:
            return form.strip()
        if (match := _only_match(names, _folded(form))) is not None:
            return match
    for form in _label_forms(text):
        if (match := _before_explanation(names, form)) is not None:
            return match
    raise BadAnswer("the answer is none of the labels")


def _label_forms(text: str) -> Iterator[str]:
    """Yield the parts of a text that may be the label, likely ones first."""
    yield text
    yield without_fence(text)
    yield from _texts_in_object(text)
    for line in (text, *text.strip().splitlines()[-1:]):
        unmarked = _LABEL_OPENING.sub("", line.strip(_EDGES))
        if line is text or unmarked != line.strip(_EDGES):
            yield unmarked
            yield _LABEL_NUMBER.sub("", unmarked.strip())


def _texts_in_object(text: str) -> Iterator[str]:
    """Yield the text in an answer such as `{"label": "Refund"}`."""
    if "{" not in text:
        return
    try:
        data = document(text, kind=dict).data
    except BadAnswer:
        return
    texts = [value for value in data.values() if isinstance(value, str)] if data else []
    named = data.get("label") if isinstance(data, dict) else None
    yield from [named] if isinstance(named, str) else texts if len(texts) == 1 else []


def _only_match(names: list[str], folded: str) -> str | None:
    matches = [name for name in names if _folded(name) == folded]
    return matches[0] if len(matches) == 1 else None


def _before_explanation(names: list[str], text: str) -> str | None:
    """Return the label that a text begins with, if an explanation follows and no other label."""
    answer = unicodedata.normalize("NFKC", text).strip(_EDGES).casefold()
    heads = sorted((name for name in names if _folded(name)), key=len, reverse=True)
    for name in heads:
        match = re.match(rf"{re.escape(_folded(name))}[\"'`*\u201d\u2019]*(?!\w)", answer)
        if match is None:
            continue
        rest = answer[match.end() :]
        if not _EXPLANATION.match(rest) or _names_another(names, name, rest):
            return None
        return _only_match(names, _folded(name))
    return None


def _names_another(names: list[str], name: str, rest: str) -> bool:
    """Return whether the first thing after a label is another label: that leaves a choice."""
    first = _folded(
        re.split(r"[\n.;,:]\s|\n|\s[-\u2013\u2014]\s", rest.strip(_EDGES), maxsplit=1)[0]
    )
    others = {_folded(other) for other in names if other != name}
    return first in others or any(first.startswith(f"{other} ") for other in others)


def _folded(text: str) -> str:
    text = unicodedata.normalize("NFKC", text)
    return " ".join((text.strip(_EDGES) or text).casefold().split())


def _extraction(text: str) -> Extraction:
    data = document(text, kind=dict).data
    if not isinstance(data, dict):
        raise BadAnswer("the answer is not a JSON object")
    content = Extraction(data=data)
    try:
        content.model_dump_json()
    except PydanticSerializationError:  # too many levels
        raise BadAnswer("the answer cannot be written as JSON again") from None
    return content


def _generated(request: Generate, text: str) -> str:
    if request.schema_ is not None:
        return document(text, kind=_json_kind(request.schema_.get("type"))).text
    return without_fence(without_thoughts(text)) if request.regex else text.strip()


def _json_kind(name: Any) -> type[Any] | None:
    """Return the Python type of a schema's type; `None` if the schema has no single one."""
    kinds: dict[str, type[Any]] = {"object": dict, "array": list}
    return kinds.get(name, str) if isinstance(name, str) else None


def _summary(text: str, max_words: int, finish: Ending) -> str:
    """Return the summary without an opening line, cut to whole sentences if it is too long.

    A sentence that was cut off is dropped too. If no whole sentence fits, all of the text stays.
    """
    body = _unquoted(_OPENING.sub("", text.strip()).strip())
    excess = next(islice(counted_words(body), max_words, None), None)
    end, limit = 0, excess.start() if excess else len(body)
    for sentence in _SENTENCE.finditer(body):
        cut_off = finish == "length" and sentence.end() == len(body) and not ends_sentence(body)
        if cut_off or sentence.end() > limit:
            break
        end = sentence.end()
    return body[:end] or body


def _unquoted(text: str) -> str:
    quoted = len(text) > 1 and text[0] == text[-1] == '"' and '"' not in text[1:-1]
    return text[1:-1] if quoted else text
