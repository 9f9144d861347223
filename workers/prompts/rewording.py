"""Self-consistency: the same question in other words, for a second opinion of the same model.

A model that knows the answer gives it to both wordings; a model that guesses is led by the wording,
by the order of the choices, and by chance. So the second prompt has other words, its labels in
reverse order, and a seed and a higher temperature of its own. The constraint and the limits stay.
"""

from __future__ import annotations

import hashlib

from forebay.routing.jobs import Classify, Decide, Extract, Generate, Job, Summarize
from forebay.workers.engines.engine import Branch, Choice, Constraint, EngineInfo, Prompt, Turn
from forebay.workers.prompts import prompts
from forebay.workers.prompts.classify import menu
from forebay.workers.prompts.questions import decide
from forebay.workers.prompts.turns import system_and_user

# Of the second answer, unless the job asks for a higher temperature or a lower top_p.
TEMPERATURE, TOP_P = 0.7, 0.95

_CLASSIFY = "You sort texts. Choose the label that suits the text and write nothing but the label."
_EXTRACT = "Fill in the form from the text alone, word by word as it stands there."
_SUMMARIZE = "You tell busy readers what matters in a text. Use your own words."
_GENERATE = "Read the question twice, then work out the answer for yourself."


def reworded(job: Job, info: EngineInfo, *, prompt_id: str) -> Prompt:
    """Return the prompt for a second local answer; always the same for the same job.

    Raises:
        InvalidJob: The kind has no prompt (`embed`).
    """
    first = prompts.local(job, info, prompt_id=prompt_id)
    return first.model_copy(
        update={
            "messages": tuple(_reworded_turns(job, list(first.messages))),
            "temperature": max(first.temperature, TEMPERATURE),
            "top_p": min(first.top_p, TOP_P),
            "seed": _seed(job.id),
            "constraint": _reversed(first.constraint),
            "branches": _reworded_branches(job),
        }
    )


def _reworded_turns(job: Job, turns: list[Turn]) -> list[Turn]:
    match job.request:
        case Classify() as request:
            labels = menu(request.options[::-1])
            user = f"Labels:\n{labels}\n\nText:\n{request.text}\n\nThe label that suits it:"
            return system_and_user(_CLASSIFY, user)
        case Extract():
            return [_system(_EXTRACT), *turns[3:-1], *turns[1:3], turns[-1]]
        case Summarize() as request:
            focus = f" What matters most is: {request.focus}." if request.focus else ""
            user = f"{request.text}\n\nIn no more than {request.max_words} words, please.{focus}"
            return system_and_user(_SUMMARIZE, user)
        case Decide() as request:
            return decide.reworded_turns(request)
        case Generate():
            return _with_advice(turns)
        case _:
            return turns


def _reworded_branches(job: Job) -> tuple[Branch, ...]:
    return decide.reworded_branches(job.request) if isinstance(job.request, Decide) else ()


def _with_advice(turns: list[Turn]) -> list[Turn]:
    """Return a chat with advice in its one system turn: some models accept no second one.

    The caller's own words go last.
    """
    if turns[0].role == "system":
        return [_system(f"{_GENERATE}\n\n{turns[0].content}"), *turns[1:]]
    return [_system(_GENERATE), *turns]


def _system(text: str) -> Turn:
    return Turn(role="system", content=text)


def _reversed(constraint: Constraint | None) -> Constraint | None:
    if isinstance(constraint, Choice):
        return Choice(options=constraint.options[::-1])
    return constraint


def _seed(job_id: str) -> int:
    return int.from_bytes(hashlib.sha256(job_id.encode()).digest()[:4]) >> 1
