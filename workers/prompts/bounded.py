"""Prompts and answers of any size, built and read within the budget of `workers.isolation`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from forebay.routing.base import changed
from forebay.routing.errors import BadAnswer, EngineBusy, Expired, InvalidJob, Lost
from forebay.routing.jobs import Content, Extract, Generation, Job
from forebay.workers.engines.engine import Completion, Ending, EngineInfo, Prompt
from forebay.workers.isolation.limits import Crowded, OverBudget
from forebay.workers.isolation.pool import call
from forebay.workers.isolation.schemas import weight
from forebay.workers.prompts import parsing, prompts, rewording

MAX_TEXT_CHARS = 8_000  # of a text from which a schema is narrowed in this process
CROWDED_RETRY_S = 2.0  # after which a job is tried again while its tenant's others take too long
MAX_OPTIONS = 64  # weight of such a schema
MAX_ANSWER_CHARS = 64_000  # of an answer that is read in this process


class BuildPrompt(Protocol):
    """Builds a prompt for a local engine."""

    def __call__(self, job: Job, info: EngineInfo, *, prompt_id: str) -> Prompt:
        """Return the prompt."""


def local(job: Job, info: EngineInfo, *, prompt_id: str) -> Prompt:
    """Return the prompt for a local engine, as `prompts.local` does.

    Raises:
        InvalidJob: The kind has no prompt (`embed`), or building the prompt takes too long.
        EngineBusy: Other jobs of the tenant take too long; this one is tried again.
        Lost: The job was cancelled meanwhile.
    """
    return _built(prompts.local, job, info, prompt_id)


def reworded(job: Job, info: EngineInfo, *, prompt_id: str) -> Prompt:
    """Return the prompt for a second local answer, as `rewording.reworded` does.

    Raises:
        InvalidJob: The kind has no prompt (`embed`), or building the prompt takes too long.
        EngineBusy: Other jobs of the tenant take too long; this one is tried again.
        Lost: The job was cancelled meanwhile.
    """
    return _built(rewording.reworded, job, info, prompt_id)


def parse_answer(
    job: Job,
    text: str,
    *,
    option_logprobs: Mapping[str, float] | None = None,
    branch_logprobs: Sequence[Mapping[str, float]] | None = None,
    finish: Ending = "stop",
) -> Content:
    """Return the content that a model's text stands for, as `parsing.parse_answer` does.

    Raises:
        BadAnswer: The text cannot be read as an answer of this kind, or reading takes too long.
        Lost: The job was cancelled meanwhile.
    """
    if len(text) <= MAX_ANSWER_CHARS:
        return parsing.parse_answer(
            job,
            text,
            option_logprobs=option_logprobs,
            branch_logprobs=branch_logprobs,
            finish=finish,
        )
    scores = None if option_logprobs is None else dict(option_logprobs)
    try:
        return call(parsing.parse_answer, job, text, option_logprobs=scores, finish=finish)
    except OverBudget:
        raise BadAnswer("the answer takes too long to read") from None


def content_of(job: Job, completion: Completion) -> tuple[Content | None, Ending]:
    """Return the content of a completion, `None` if it cannot be read, and how the text ended.

    Raises:
        Expired: The deadline passed meanwhile.
        Lost: The job was cancelled meanwhile.
    """
    if completion.finish == "cancelled":
        raise Lost
    if completion.finish == "deadline":
        raise Expired("the deadline passed while the job was worked")
    try:
        content = parse_answer(
            job,
            completion.text,
            option_logprobs=completion.option_logprobs,
            branch_logprobs=completion.branch_logprobs,
            finish=completion.finish,
        )
    except BadAnswer:
        return None, completion.finish
    if isinstance(content, Generation):
        told = {"logprobs": completion.token_logprobs, "stop_sequence": completion.stop_sequence}
        content = changed(content, **told)
    return content, completion.finish


def _built(build: BuildPrompt, job: Job, info: EngineInfo, prompt_id: str) -> Prompt:
    """Build a prompt: here, unless the text has to be searched for many values of a schema."""
    request = job.request
    if not isinstance(request, Extract) or (
        len(request.text) <= MAX_TEXT_CHARS and weight(request.schema_, MAX_OPTIONS) <= MAX_OPTIONS
    ):
        return build(job, info, prompt_id=prompt_id)
    in_process: Callable[..., Prompt] = build
    try:
        return call(in_process, job, info, prompt_id=prompt_id)
    except Crowded as crowded:
        raise EngineBusy(str(crowded), retry_after=CROWDED_RETRY_S) from None
    except OverBudget:
        problem = "takes too long to prepare for a model; give it fewer parts, or a shorter text"
        raise InvalidJob(problem, field="schema") from None
