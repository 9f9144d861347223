"""The same question in other words: what a second opinion is asked for.

A model that knows answers both wordings alike; one that guesses is led by the wording, by the order
of what it may choose from, and by chance. So all three change, and nothing else: the constraint and
the limits stay.
"""

from __future__ import annotations

import hashlib

from forebay.routing.jobs import Classify, Extract, Generate, Job, Summarize
from forebay.workers.engines.engine import Choice, Constraint, EngineInfo, Prompt, Turn
from forebay.workers.prompts import prompts

TEMPERATURE, TOP_P = 0.7, 0.95  # of the second answer, where the job does not ask for more

_CLASSIFY = "You sort texts. Choose the label that suits the text and write nothing but the label."
_EXTRACT = "Fill in the form from the text alone, word by word as it stands there."
_SUMMARIZE = "You tell busy readers what matters in a text. Use your own words."
_ANSWER = "Read the question twice, then work out the answer for yourself."


def reworded(job: Job, info: EngineInfo, *, prompt_id: str) -> Prompt:
    """The prompt for a second local answer; the same for the same job.

    Raises:
        InvalidJob: The kind has no prompt (`embed`).
    """
    first = prompts.local(job, info, prompt_id=prompt_id)
    return first.model_copy(
        update={
            "messages": tuple(_turns(job, list(first.messages))),
            "temperature": max(first.temperature, TEMPERATURE),
            "top_p": min(first.top_p, TOP_P),
            "seed": _seed(job.id),
            "constraint": _reversed(first.constraint),
        }
    )


def _turns(job: Job, turns: list[Turn]) -> list[Turn]:
    match job.request:
        case Classify() as request:
            menu = prompts.menu(request.options[::-1])
            user = f"Labels:\n{menu}\n\nText:\n{request.text}\n\nThe label that suits it:"
            return [_system(_CLASSIFY), Turn(role="user", content=user)]
        case Extract():
            return [_system(_EXTRACT), *turns[3:-1], *turns[1:3], turns[-1]]
        case Summarize() as request:
            focus = f" What matters most is: {request.focus}." if request.focus else ""
            user = f"{request.text}\n\nIn no more than {request.max_words} words, please.{focus}"
            return [_system(_SUMMARIZE), Turn(role="user", content=user)]
        case Generate():
            return _with_advice(turns)
        case _:
            return turns


def _with_advice(turns: list[Turn]) -> list[Turn]:
    """Before the caller's own words, which go last: some models know one system message only."""
    if turns[0].role == "system":
        return [_system(f"{_ANSWER}\n\n{turns[0].content}"), *turns[1:]]
    return [_system(_ANSWER), *turns]


def _system(text: str) -> Turn:
    return Turn(role="system", content=text)


def _reversed(constraint: Constraint | None) -> Constraint | None:
    if isinstance(constraint, Choice):
        return Choice(options=constraint.options[::-1])
    return constraint


def _seed(job_id: str) -> int:
    return int.from_bytes(hashlib.sha256(job_id.encode()).digest()[:4]) >> 1
