"""Make jobs from a benchmark's questions, with a strong model's real answer to each.

The questions are read from the two parquet files that `forebay router eval` reads; none is kept
here. The right answer is the common answer of all models that scored 1. At least one model was
right on each question, so the hardest questions are missing.
"""

from __future__ import annotations

import random
import re
import string
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from labelled import Labelled

from forebay.routing.errors import Misconfigured
from forebay.routing.jobs import Generate, Message
from forebay.workers.checks import agreement, final_answer
from forebay.workers.training.data.dataset import columns

SOURCE = "questions"
LONGEST = 3_000  # characters; with formulas about 1,500 tokens, which fit a context of 2,048
SILENCE = "There is nothing to be read."  # if the strong model gave no answer in this form
ALONE = "\n\nReply with the letter of the right option alone."
TOKENS = 256  # characters of an answer in free form

_ANSWERS = ["uid", "model", "score", "pred"]
_OPTION = re.compile(r"^([A-Z])[.)] ", re.MULTILINE)


def questions(
    prompts: Path, outcomes: Path, strong: str, *, count: int, seed: int
) -> list[Labelled]:
    """Draw questions; the same files and seed give the same questions.

    Args:
        prompts: parquet with `uid`, `prompt`.
        outcomes: parquet with `uid`, `model`, `score`, `pred`.
        strong: the model whose answers the frontier gives, right or wrong.
        count: how many questions to draw, at most.
        seed: of the random draw.

    Raises:
        Misconfigured: A file or column is missing, or no question can be asked.
    """
    asked = columns(prompts, ["uid", "prompt"])
    right, said = _answers(columns(outcomes, _ANSWERS).columns, strong)
    found = [
        job
        for uid, prompt in sorted(zip(asked["uid"], asked["prompt"], strict=True))
        if uid in right and uid in said and len(prompt) <= LONGEST
        for job in _job(prompt, right[uid], said[uid])
    ]
    if not found:
        why = f"has no question that {strong!r} answered and whose right answer is known"
        raise Misconfigured(why, field=str(outcomes))
    return random.Random(seed).sample(found, min(count, len(found)))


def _answers(table: Mapping[str, list], strong: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return the right answers and the strong model's answers, each by uid, as far as known."""
    full: defaultdict[str, Counter[str]] = defaultdict(Counter)
    said: dict[str, str] = {}
    for uid, model, score, pred in zip(*(table[name] for name in _ANSWERS), strict=True):
        text = "" if pred is None else str(pred).strip()
        if model == strong:
            said[uid] = text or SILENCE
        if text and score == 1:
            full[uid][text] += 1
    return {uid: right for uid, preds in full.items() for right in _agreed(preds)}, said


def _agreed(preds: Counter[str]) -> Iterator[str]:
    """Return the answer if all answers say the same, else None."""
    first = preds.most_common(1)[0][0]
    if all(agreement.texts(first, other) == 1.0 for other in preds):
        yield first


def _job(prompt: str, right: str, said: str) -> Iterator[Labelled]:
    """Return a job that answers with a letter or a short text, or None if the answer is prose."""
    if right in set(letters := _options(prompt)):
        asked, held = prompt.rstrip() + ALONE, f"[{letters[0]}-{letters[-1]}]"
        request = Generate(messages=_user(asked), max_tokens=4, regex=held)
    elif final_answer.decides(right):
        request = Generate(messages=_user(prompt), max_tokens=TOKENS)
    else:
        return
    yield Labelled(request, right, said, errs=agreement.texts(right, said) < 1, source=SOURCE)


def _options(prompt: str) -> str:
    """Return the letters of the options, from A on; empty if there are fewer than two."""
    found = "".join(_OPTION.findall(prompt))
    letters = found[max(0, found.rfind("A")) :]
    return letters if len(letters) > 1 and string.ascii_uppercase.startswith(letters) else ""


def _user(content: str) -> tuple[Message]:
    return (Message(role="user", content=content),)
