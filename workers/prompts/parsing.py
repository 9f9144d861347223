"""How a model's text becomes content of the job's kind. Lenient with dress, strict with substance.

A label in other case, JSON inside a code fence or a polite opening line cost nothing to forgive.
Whatever would need a guess raises `BadAnswer`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from itertools import islice
from typing import Any, NoReturn

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
from forebay.workers.checks.grounding import ends
from forebay.workers.engines.engine import Ending

_FENCE = re.compile(r"\A\s*```[a-zA-Z]*[ \t]*\n(.*)```\s*\Z", re.DOTALL)
_SAYS_LABEL = re.compile(
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
    """The content that a model's text stands for.

    Args:
        job: what was asked.
        text: what the model said.
        option_logprobs: of each label, where the engine scored them.
        finish: `length` where the model was cut off.

    Raises:
        BadAnswer: It cannot be read as an answer of this kind.
    """
    match job.request:
        case Classify() as request:
            return _classification(request, text, option_logprobs)
        case Extract():
            return Extraction(data=_object(text))
        case Summarize() as request:
            return Summary(text=_summary(text, request.max_words, finish))
        case Generate() as request:
            return Generation(text=_written(request, text), finish=finish)
        case _:
            raise BadAnswer("no text answers a job of this kind")


def _classification(
    request: Classify, text: str, logprobs: Mapping[str, float] | None
) -> Classification:
    names = [option.name for option in request.options]
    label = _label(names, text)
    if not logprobs or not set(names) <= logprobs.keys():
        # A frontier model says a label, and not how sure it is of it.
        return Classification(label=label)
    scores = _shares({name: logprobs[name] for name in names})
    return Classification(label=label, probability=scores[label], scores=scores)


def _shares(logprobs: Mapping[str, float]) -> dict[str, float]:
    top = max(logprobs.values())
    if not math.isfinite(top):
        return dict.fromkeys(logprobs, 1 / len(logprobs))
    weights = {name: math.exp(one - top) for name, one in logprobs.items()}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def _label(names: list[str], text: str) -> str:
    if text in names:
        return text
    said = _folded(text)
    fits = [name for name in names if _folded(name) in (said, _folded(_SAYS_LABEL.sub("", said)))]
    if len(fits) != 1:
        raise BadAnswer("the answer is none of the labels")
    return fits[0]


def _folded(text: str) -> str:
    return " ".join(text.strip(_EDGES).casefold().split())


def _object(text: str) -> dict[str, Any]:
    data = _json(text)
    if not isinstance(data, dict):
        raise BadAnswer("the answer is not a JSON object")
    return data


def _json(text: str) -> Any:
    fenced = _FENCE.match(text)
    try:
        return json.loads(fenced[1] if fenced else text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        # The parser's own message would repeat the answer.
        raise BadAnswer("the answer is not JSON") from None


def _no_number(_: str) -> NoReturn:
    raise ValueError  # NaN and Infinity: Python reads them, JSON does not have them


def _written(request: Generate, text: str) -> str:
    if request.schema_ is not None:
        _json(text)
    fenced = _FENCE.match(text) if request.schema_ or request.regex else None
    return (fenced[1] if fenced else text).strip()


def _summary(text: str, max_words: int, finish: Ending) -> str:
    """Without an opening line; what is too long, or was cut off, keeps its whole sentences."""
    said = _unquoted(_OPENING.sub("", text.strip()).strip())
    beyond = next(islice(_WORD.finditer(said), max_words, None), None)
    kept, most = 0, beyond.start() if beyond else len(said)
    for sentence in _SENTENCE.finditer(said):
        broken_off = finish == "length" and sentence.end() == len(said) and not ends(said)
        if broken_off or sentence.end() > most:
            break
        kept = sentence.end()
    return said[:kept] or said


def _unquoted(text: str) -> str:
    quoted = len(text) > 1 and text[0] == text[-1] == '"' and '"' not in text[1:-1]
    return text[1:-1] if quoted else text
