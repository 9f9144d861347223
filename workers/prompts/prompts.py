"""From a job to a prompt, for a local engine or a frontier model. Each kind has a file of its own.

A local model may be small: it gets short instructions first, the same for all jobs of a kind so
that their computed prefix is shared, then solved examples if they help, and a constraint that
leaves little room for mistakes. A frontier model gets one precise request without examples, and the
text verbatim between marks, so that nothing in the text is taken for an instruction. The way back,
from a model's text to content, is `forebay.workers.prompts.parsing`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from forebay.routing.base import Kind, made
from forebay.routing.errors import InvalidJob
from forebay.routing.jobs import Classify, Decide, Generate, Job, Summarize
from forebay.routing.requests import AnyRequest
from forebay.workers.engines.engine import Choice, Constraint, EngineInfo, Prompt, Turn
from forebay.workers.prompts import classify, extract, generate, summarize
from forebay.workers.prompts.questions import decide


class KindPrompts(Protocol):
    """The functions that the file of each kind defines."""

    def local_turns(self, request: Any) -> list[Turn]:
        """Return the turns for a local model."""
        ...

    def frontier_turns(self, request: Any) -> list[Turn]:
        """Return the turns for a frontier model."""
        ...

    def local_constraint(self, request: Any) -> Constraint | None:
        """Return what a local engine enforces while it generates."""
        ...

    def frontier_constraint(self, request: Any) -> Constraint | None:
        """Return what a frontier service is asked to enforce, if it can."""
        ...

    def max_tokens(self, request: Any) -> int:
        """Return how many tokens the answer may have."""
        ...


_BY_KIND: dict[str, KindPrompts] = {
    "classify": classify,
    "extract": extract,
    "summarize": summarize,
    "generate": generate,
    "decide": decide,
}


def local(job: Job, info: EngineInfo, *, prompt_id: str) -> Prompt:
    """Return the prompt for a local engine.

    Raises:
        InvalidJob: The kind has no prompt (`embed`).
    """
    kind, request = _prompts_of(job), job.request
    room = max(1, info.context_tokens - 1)
    max_tokens = min(kind.max_tokens(request), room)
    constraint = kind.local_constraint(request)
    prompt = _prompt(job, prompt_id, kind.local_turns(request), max_tokens, constraint)
    if isinstance(request, Decide):
        return prompt.model_copy(update={"branches": decide.branches(request)})
    return prompt


#: The kinds whose prompts for a local engine differ in nothing but their last turns if their texts
#: alone differ. The text of other kinds decides more.
ALIKE_KINDS: frozenset[Kind] = frozenset({"classify", "summarize"})


def questions(request: AnyRequest, texts: Iterable[str]) -> list[str]:
    """Return what the last turn for a local engine holds, for each text in place of the request's.

    Raises:
        InvalidJob: The kind is none of `ALIKE_KINDS`.
    """
    match request:
        case Classify():
            return classify.local_questions(request, texts)
        case Summarize():
            return summarize.local_questions(request, texts)
    raise InvalidJob("has prompts that differ in more than their texts", field="kind")


def frontier(job: Job, *, prompt_id: str) -> Prompt:
    """Return the prompt for a frontier model.

    Raises:
        InvalidJob: The kind has no prompt (`embed`).
    """
    kind, request = _prompts_of(job), job.request
    constraint = kind.frontier_constraint(request)
    return _prompt(
        job, prompt_id, kind.frontier_turns(request), kind.max_tokens(request), constraint
    )


def in_words(job: Job, *, prompt_id: str) -> Prompt:
    """Return the prompt for a frontier service that cannot enforce the job's constraint.

    The constraint stands in the words of the prompt, and the checks of the answer hold it.

    Raises:
        InvalidJob: The kind has no prompt (`embed`).
    """
    return frontier(job, prompt_id=prompt_id).model_copy(update={"constraint": None})


def repair(prompt: Prompt, text: str, fault: str, *, prompt_id: str) -> Prompt:
    """Return the prompt for a second try, after an answer whose form was wrong.

    Args:
        prompt: the prompt of the first try.
        text: the answer to it.
        fault: what is wrong with the answer.
        prompt_id: the id of the new prompt.
    """
    again = (
        f"This answer is not valid: {fault}. Answer once more, with JSON that validates against "
        "the JSON Schema and nothing else."
    )
    turns = (Turn(role="assistant", content=text), Turn(role="user", content=again))
    return prompt.model_copy(
        update={"id": prompt_id, "constraint": None, "messages": (*prompt.messages, *turns)}
    )


def _prompts_of(job: Job) -> KindPrompts:
    if job.kind not in _BY_KIND:
        raise InvalidJob("has no prompt: it is answered by vectors", field="kind")
    return _BY_KIND[job.kind]


def _prompt(
    job: Job, prompt_id: str, turns: list[Turn], max_tokens: int, constraint: Constraint | None
) -> Prompt:
    chat = job.request if isinstance(job.request, Generate) else None
    return made(
        Prompt,
        id=prompt_id,
        messages=tuple(turns),
        max_tokens=max_tokens,
        temperature=chat.temperature if chat else 0.0,
        top_p=chat.top_p if chat else 1.0,
        stop=chat.stop if chat else (),
        seed=chat.seed if chat else None,
        logprobs=chat.logprobs if chat else None,
        deadline=job.deadline.timestamp() if job.deadline else None,
        priority=0 if job.priority == "interactive" else 1,
        tenant=job.tenant,
        constraint=constraint,
        score_options=isinstance(constraint, Choice),
    )
