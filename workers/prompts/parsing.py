"""From a model's text to content of the job's kind. Lenient with formatting, strict with substance.

A label in another case, JSON inside a code fence and a polite opening line are accepted. Whatever
would need a guess raises `BadAnswer`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import islice

from forebay.routing.base import made
from forebay.routing.errors import BadAnswer
from forebay.routing.jobs import (
    Classification,
    Classify,
    Content,
    Decide,
    Decisions,
    Extract,
    Extraction,
    Generate,
    Generation,
    Job,
    Summarize,
    Summary,
)
from forebay.routing.json_tree import is_deeper_than
from forebay.routing.questions.decisions import answer_to
from forebay.workers.checks.reading.words import counted_words, ends_sentence
from forebay.workers.engines.engine import Ending
from forebay.workers.engines.prefills import after
from forebay.workers.prompts.json_answers import (
    document,
    is_json,
    json_kind,
    without_fence,
    without_thoughts,
)
from forebay.workers.prompts.label_answers import label
from forebay.workers.prompts.questions.stated_probabilities import stated_decisions

MAX_LEVELS = 128  # of an extraction: parsers read 200, and a result stands around it

_OPENING = re.compile(
    r"\A(?:sure[,!.]?\s+)?"
    r"(?:here(?:['\u2019]s| is)\b[^\n:]{0,80}|(?:the |a )?summary[^\n:]{0,40}):\s*",
    re.IGNORECASE,
)
_SENTENCE = re.compile(
    r"\S.*?(?:[.!?\u2026][\"'\u201d\u2019)]*(?=\s)|$|[\u3002\uff01\uff1f])", re.DOTALL
)


def parse_answer(
    job: Job,
    text: str,
    *,
    option_logprobs: Mapping[str, float] | None = None,
    branch_logprobs: Sequence[Mapping[str, float]] | None = None,
    finish: Ending = "stop",
) -> Content:
    """Return the content that a model's text stands for.

    Args:
        job: the job that the text answers.
        text: the model's text.
        option_logprobs: natural-log probability of each label, if the engine scored them.
        branch_logprobs: the same for the options of each question.
        finish: `length` if the model was cut off.

    Raises:
        BadAnswer: The text cannot be read as an answer of this kind.
    """
    text = _with_whole_characters(text)
    match job.request:
        case Classify() as request:
            return _classification(request, text, option_logprobs)
        case Decide() as request:
            return _decisions(request, text, branch_logprobs)
        case Extract():
            return _extraction(text)
        case Summarize() as request:
            summary = _summary(without_thoughts(text), request.max_words, finish)
            return made(Summary, text=summary)
        case Generate() as request:
            return made(Generation, text=_generated(request, text), finish=finish)
        case _:
            raise BadAnswer("no text answers a job of this kind")


def _with_whole_characters(text: str) -> str:
    """Return the text with U+FFFD for each half of a surrogate pair: no half can be stored."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _classification(
    request: Classify, text: str, logprobs: Mapping[str, float] | None
) -> Classification:
    names = [option.name for option in request.options]
    name = label(names, text)
    if not logprobs or not all(name in logprobs for name in names):
        # A frontier model gives no probability with its label.
        return Classification(label=name)
    scores = probabilities({name: logprobs[name] for name in names})
    return made(Classification, label=name, probability=scores[name], scores=scores)


def _decisions(
    request: Decide, text: str, logprobs: Sequence[Mapping[str, float]] | None
) -> Decisions:
    if logprobs is None:  # a frontier model states its probabilities in the text
        return stated_decisions(request, text)
    answers = tuple(
        answer_to(question, probabilities({name: scores[name] for name in question.options}))
        for question, scores in zip(request.questions, logprobs, strict=True)
    )
    return Decisions(answers=answers, basis="scored")


def probabilities(logprobs: Mapping[str, float]) -> dict[str, float]:
    """Return probabilities that add up to 1; even ones if no label is possible."""
    top = max(logprobs.values())
    weights = {name: math.exp(logprob - top) for name, logprob in logprobs.items()}
    total = sum(weights.values())
    if not math.isfinite(total):  # all are minus infinity, or one is no number
        return dict.fromkeys(logprobs, 1 / len(logprobs))
    return {name: weight / total for name, weight in weights.items()}


def _extraction(text: str) -> Extraction:
    data = document(text, kind=dict).data
    if not isinstance(data, dict):
        raise BadAnswer("the answer is not a JSON object")
    if is_deeper_than(data, MAX_LEVELS):
        raise BadAnswer(f"the answer has more than {MAX_LEVELS} levels")
    return Extraction(data=data)


def _generated(request: Generate, text: str) -> str:
    if request.prefill is not None:
        return _continuation(request, text)
    if request.schema_ is not None:
        return document(text, kind=json_kind(request.schema_)).text
    return without_fence(without_thoughts(text)) if request.regex else request.trimmed(text)


def _continuation(request: Generate, text: str) -> str:
    """Return what of a text follows the assistant's last message.

    A model that was asked for JSON may have written the whole answer once more.
    """
    rest = request.trimmed(text)
    if request.schema_ is None or is_json(request.whole(rest)):
        return rest
    again = document(text, kind=json_kind(request.schema_)).text
    following = after(request.prefill or "", again)
    if following is None:
        raise BadAnswer("the answer does not begin as the assistant's last message does")
    return following


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
