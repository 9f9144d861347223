"""From a model's text to content of the job's kind. Lenient with formatting, strict with substance.

A label in another case, JSON inside a code fence and a polite opening line are accepted. Whatever
would need a guess raises `BadAnswer`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from itertools import islice
from typing import Any, NoReturn

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
from forebay.workers.checks.words import ends_sentence
from forebay.workers.engines.engine import Ending

_FENCE = re.compile(r"\A\s*```[a-zA-Z]*[ \t]*\n(.*)```\s*\Z", re.DOTALL)
_LABEL_OPENING = re.compile(
    r"\A(?:the\s+)?(?:label|category|class|answer)(?:\s+is)?\s*:?\s+", re.IGNORECASE
)
_OPENING = re.compile(
    r"\A(?:sure[,!.]?\s+)?"
    r"(?:here(?:['\u2019]s| is)\b[^\n:]{0,80}|(?:the |a )?summary[^\n:]{0,40}):\s*",
    re.IGNORECASE,
)
_WORD = re.compile(r"\S+")
_SENTENCE = re.compile(
    r"\S.*?(?:[.!?\u2026][\"'\u201d\u2019)]*(?=\s)|$|[\u3002\uff01\uff1f])", re.DOTALL
)
_EDGES = " \t\r\n\"'`*.:_\u201c\u201d\u2018\u2019"


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
    match job.request:
        case Classify() as request:
            return _classification(request, text, option_logprobs)
        case Extract():
            return _extraction(text)
        case Summarize() as request:
            return Summary(text=_summary(text, request.max_words, finish))
        case Generate() as request:
            return Generation(text=_generated(request, text), finish=finish)
        case _:
            raise BadAnswer("no text answers a job of this kind")


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
    if text in names:
        return text
    answer = _folded(text)
    forms = (answer, _folded(_LABEL_OPENING.sub("", answer)))
    matches = [name for name in names if _folded(name) in forms]
    if len(matches) != 1:
        raise BadAnswer("the answer is none of the labels")
    return matches[0]


def _folded(text: str) -> str:
    return " ".join(text.strip(_EDGES).casefold().split())


def _extraction(text: str) -> Extraction:
    content = Extraction(data=_object(text))
    try:
        content.model_dump_json()
    except PydanticSerializationError:  # half of a surrogate pair, or too many levels
        raise BadAnswer("the answer cannot be written as JSON again") from None
    return content


def _object(text: str) -> dict[str, Any]:
    data = _json(text)
    if not isinstance(data, dict):
        raise BadAnswer("the answer is not a JSON object")
    return data


def _json(text: str) -> Any:
    fenced = _FENCE.match(text)
    try:
        return json.loads(
            fenced[1] if fenced else text,
            parse_constant=_reject_constant,
            parse_float=_finite,
        )
    except (ValueError, RecursionError):
        # The parser's own message would repeat the answer.
        raise BadAnswer("the answer is not JSON") from None


def _reject_constant(_: str) -> NoReturn:
    raise ValueError  # NaN and Infinity: Python reads them, JSON does not have them


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError  # 1e999: no JSON number stands for infinity
    return number


def _generated(request: Generate, text: str) -> str:
    if request.schema_ is not None:
        _json(text)
    fenced = _FENCE.match(text) if request.schema_ or request.regex else None
    return (fenced[1] if fenced else text).strip()


def _summary(text: str, max_words: int, finish: Ending) -> str:
    """Return the summary without an opening line, cut to whole sentences if it is too long.

    A sentence that was cut off is dropped too. If no whole sentence fits, all of the text stays.
    """
    body = _unquoted(_OPENING.sub("", text.strip()).strip())
    excess = next(islice(_WORD.finditer(body), max_words, None), None)
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
