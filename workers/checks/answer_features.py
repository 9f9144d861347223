"""Features of a local answer and of those compared with it, as named numbers without content."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from decimal import Decimal
from statistics import fmean

from forebay.routing.jobs import Content, Extraction, Generation, Summary
from forebay.workers.checks.final_answer import numbers

#: The features of an answer that are compared with those of another answer.
COMPARED = ("length", "size", "numbers")
MAX_LOG_SIZE = 30.0  # of an answer's last number
PLACES = 4  # decimals


def answer_features(
    question: str, first: str | None, others: Sequence[str | None], agreements: Sequence[float],
    together: float = 1.0,
) -> dict[str, float]:  # fmt: skip
    """Return what tells wrong answers from right ones.

    1. How far the first answer agrees with each other one; the mean and the minimum of that.
    2. How far the others agree with each other, and that times how far they differ from the first:
       if they share an answer that the first does not, the first is probably wrong.
    3. The features of each answer's text, and how those of the others differ from the first's.

    Args:
        question: the text of the request.
        first: the answer; `None` if it is missing.
        others: the answers that it is compared with.
        agreements: with each of them, 0 to 1.
        together: the mean agreement of the others with each other.
    """
    asked = frozenset(numbers(question))
    own = text_features("first", first, asked)
    mean = fmean(agreements) if agreements else 0.0
    features = {f"agreed_{at}": agreed for at, agreed in enumerate(agreements, 1)}
    features |= {"agreed_mean": mean, "agreed_min": min(agreements, default=0.0)}
    features |= {"together": together, "against": together * (1 - mean)} | own
    for at, other in enumerate(others, 1):
        theirs = text_features(f"other_{at}", other, asked)
        features |= theirs
        features |= {
            f"other_{at}_{name}_more": theirs[f"other_{at}_{name}"] - own[f"first_{name}"]
            for name in COMPARED
        }
    return {name: round(value, PLACES) for name, value in features.items()}


def text_features(name: str, text: str | None, asked: frozenset[Decimal]) -> dict[str, float]:
    """Return the features of one answer, each with this name before it.

    These are its length, the size of its last number and the count of its numbers, whether it is
    missing, and whether its last number is whole, negative, or one of those in the question.
    """
    found = numbers(text or "")
    last = float(found[-1]) if found else 0.0
    size = math.log1p(abs(last)) if math.isfinite(last) else 0.0
    return {
        f"{name}_length": math.log1p(len(text or "")),
        f"{name}_size": min(size, MAX_LOG_SIZE),
        f"{name}_numbers": math.log1p(len(found)),
        f"{name}_missing": float(text is None),
        f"{name}_whole": float(last.is_integer()),
        f"{name}_negative": float(last < 0),
        f"{name}_asked": float(bool(found) and found[-1] in asked),
    }


def as_text(content: Content | None) -> str | None:
    """Return an answer as text, as files of outcomes hold it."""
    match content:
        case None:
            return None
        case Generation(text=text) | Summary(text=text):
            return text.strip() or None
        case Extraction(data=data):
            return json.dumps(data, ensure_ascii=False)
        case _:
            return content.model_dump_json()
