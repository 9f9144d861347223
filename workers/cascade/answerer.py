"""Answer: begin a generation on the engine now, wait for it when it is needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

from forebay.routing.base import KINDS, Kind
from forebay.routing.errors import EngineBusy, ForebayError, InvalidJob, Unavailable
from forebay.routing.jobs import Embed, Embedding, Job
from forebay.workers.cascade import similarity
from forebay.workers.cascade.stages import PendingAnswer, RawAnswer
from forebay.workers.engines.engine import (
    Completion,
    Engine,
    EngineInfo,
    Prompt,
    TakeEnd,
    TakeText,
    Vectors,
)
from forebay.workers.engines.engine_span import record_span
from forebay.workers.prompts import bounded
from forebay.workers.prompts.prompts import questions

#: The kinds that can be answered by the nearest option.
NEAREST: frozenset[Kind] = frozenset({"classify", "decide"})

#: The fields of a `Decide` request, by the part of its prompt that an error names.
_DECIDE_FIELDS = {"messages": "state", "labels": "questions"}


class Ended(NamedTuple):
    """How the generation of an answer ended, before its text is read.

    Attributes:
        info: the engine when the generation began.
        began_ns: when that was, in Unix nanoseconds.
    """

    info: EngineInfo
    began_ns: int
    end: Completion | ForebayError

    def answer_to(self, job: Job) -> PendingAnswer:
        """Return the answer to the job, which has been waited for."""
        return PendingAnswer(partial(_ended, job, *self))


#: Takes the id of a prompt, and how its generation ended.
TakeEnded = Callable[[str, Ended], object]


class Answerer:
    """Answers jobs on one engine, and gives second answers on another engine if there is one.

    Waiting for an answer raises the engine's errors; `Lost` if the generation was cancelled, and
    `Expired` if the job's deadline passed meanwhile.
    """

    def __init__(self, engine: Engine, other: Engine | None = None) -> None:
        self._engine = engine
        self._other = other

    @property
    def info(self) -> EngineInfo:
        """The engine as it is now; after a restart it may serve another model."""
        return self._engine.info()

    @property
    def encoder(self) -> Callable[[list[str]], Vectors] | None:
        """The engine's embedding function; `None` if it has no embedding model."""
        return self._engine.embed if self.info.embed_model else None

    def signature(self, job: Job) -> tuple[str, str]:
        """Return the model, and its revision, that answers this job here."""
        return self._signature(self.info, job.kind)

    def signatures(self) -> dict[Kind, tuple[str, str]]:
        """Return for each kind the model, and its revision, that answers it here."""
        info = self.info
        return {kind: self._signature(info, kind) for kind in KINDS}

    @staticmethod
    def _signature(info: EngineInfo, kind: Kind) -> tuple[str, str]:
        if info.embed_model and (kind == "embed" or _by_similarity(info, kind)):
            return info.embed_model, info.embed_revision or ""
        return info.model, info.revision

    def require_model(self, job: Job) -> None:
        """Raise `Unavailable` if a job names another model than that which would answer it here."""
        if job.model not in {None, self.signature(job)[0]}:
            raise Unavailable("is not served by this pool any more", field="model")

    def begin(
        self,
        job: Job,
        prompt_id: str,
        *,
        best_effort: bool = False,
        on_text: TakeText | None = None,
    ) -> PendingAnswer:
        """Begin the answer to a job; embeddings are computed only when they are waited for.

        `Prompt` says what the best effort is. `on_text` gets the text while it is generated.
        """
        info = self.info
        if job.kind == "embed":
            return PendingAnswer(lambda: self._embedded_all([job])[0])
        if _by_similarity(info, job.kind):
            return PendingAnswer(lambda: self._nearest([job])[0])
        prompt = self.prompt(job, prompt_id)
        update = {"best_effort": best_effort, "stream": on_text is not None}
        return _generate(self._engine, info, job, prompt.model_copy(update=update), on_text)

    def begin_all(self, jobs: Mapping[str, Job], take: TakeEnded) -> dict[str, InvalidJob]:
        """Begin the answers to many jobs that need the batch, by the ids of their prompts.

        `take` is called from any thread, and must return at once.

        Returns:
            The errors of the jobs of which no prompt can be made; nobody tells their answers.

        Raises:
            Lost: The claim was cancelled meanwhile.
        """
        prompts: list[Prompt] = []
        refused = {}
        for prompt_id, job in jobs.items():
            try:
                prompts.append(self.prompt(job, prompt_id))
            except InvalidJob as error:
                refused[prompt_id] = error
            except EngineBusy as error:
                take(prompt_id, Ended(self.info, time.time_ns(), error))
        self.begin_prompts(prompts, take)
        return refused

    def begin_alike(self, job: Job, texts: Mapping[str, str], take: TakeEnded) -> None:
        """Begin the answers to texts, by the ids of their prompts; see `begin_all`.

        Each is asked what the job asks about its own text; its kind is one of `ALIKE_KINDS`.
        """
        asked = questions(job.request, texts.values())
        prompt = self.prompt(job, next(iter(texts)))
        contents = dict(zip(texts, asked, strict=True))
        self._engine.submit_alike(prompt, contents, _telling(self.info, take))

    def prompt(self, job: Job, prompt_id: str) -> Prompt:
        """Return the prompt of a job that needs the batch.

        Raises:
            InvalidJob: No prompt can be made of the job.
            EngineBusy: Other jobs of the tenant take too long; this one is tried again.
            Lost: The job was cancelled meanwhile.
        """
        info = self.info
        _check_logprobs(job, info)
        return bounded.local(job, info, prompt_id=prompt_id)

    def begin_prompts(self, prompts: Sequence[Prompt], take: TakeEnded) -> None:
        """Begin the answers to prompts; see `begin_all`."""
        self._engine.submit_all(prompts, _telling(self.info, take))

    @property
    def light_kinds(self) -> frozenset[Kind]:
        """The kinds that need no slot of the batch: they are answered by vectors alone."""
        embeds: frozenset[Kind] = frozenset({"embed"})
        return embeds | NEAREST if self.info.classify == "similarity" else embeds

    def at_once(self, jobs: Sequence[Job]) -> list[RawAnswer]:
        """Answer jobs of one kind by vectors, all in one call.

        Raises:
            Unavailable: The engine has no embedding model.
        """
        return self._embedded_all(jobs) if jobs[0].kind == "embed" else self._nearest(jobs)

    def begin_second(self, job: Job, prompt_id: str, *, own: bool = False) -> PendingAnswer:
        """Begin a second answer: from the other model, or from the same model to other words.

        Another model makes mistakes of its own, so it is asked in the same words (`own`: it is not
        asked). Its constraint is enforced as far as its engine can; the checks hold the rest.

        Raises:
            InvalidJob: The kind has no prompt (`embed`).
        """
        other = None if own else self._other
        engine, word = (other, bounded.local) if other else (self._engine, bounded.reworded)
        info = engine.info()
        prompt = word(job, info, prompt_id=prompt_id).model_copy(update={"best_effort": True})
        return _generate(engine, info, job, prompt)

    def cancel(self, prompt_id: str) -> None:
        """Cancel a generation. Unknown ids are ignored."""
        for engine in self._engines:
            engine.cancel(prompt_id)

    def steps(self) -> int:
        """Return a counter that rises while an engine makes progress."""
        return sum(engine.steps() for engine in self._engines)

    def close(self) -> None:
        """Stop the engines."""
        for engine in self._engines:
            engine.close()

    def _embedded_all(self, jobs: Sequence[Job]) -> list[RawAnswer]:
        """Return the vectors of many jobs. The tokens are shared out by the number of texts.

        If there are not as many vectors as texts, each job is answered alone, for its own checks.
        """
        texts = [list(job.request.texts) for job in jobs if isinstance(job.request, Embed)]
        found = self._engine.embed([text for each in texts for text in each])
        rows, count = iter(found.vectors), sum(map(len, texts))
        if len(jobs) == 1:
            answer = Embedding(vectors=found.vectors)
            return [RawAnswer(*self.signature(jobs[0]), found.tokens_in, 0, answer)]
        if len(found.vectors) != count:
            return [self._embedded_all([job])[0] for job in jobs]
        answers = [Embedding(vectors=tuple(islice(rows, len(own)))) for own in texts]
        return [
            RawAnswer(*self.signature(job), found.tokens_in * len(own) // count, 0, answer)
            for job, own, answer in zip(jobs, texts, answers, strict=True)
        ]

    def _nearest(self, jobs: Sequence[Job]) -> list[RawAnswer]:
        """Answer jobs by the nearest options. The tokens are shared out evenly."""
        contents, tokens_in = similarity.answer_all(jobs, self._engine.embed)
        share = tokens_in // len(jobs)
        return [
            RawAnswer(*self.signature(job), share, 0, content)
            for job, content in zip(jobs, contents, strict=True)
        ]

    @property
    def _engines(self) -> tuple[Engine, ...]:
        return (self._engine, self._other) if self._other else (self._engine,)


def _by_similarity(info: EngineInfo, kind: Kind) -> bool:
    return kind in NEAREST and info.classify == "similarity"


def _check_logprobs(job: Job, info: EngineInfo) -> None:
    """Raise `InvalidJob` if a job asks for probabilities of tokens that the engine cannot tell."""
    if job.wants_logprobs and not info.logprobs:
        message = f"are not told by the engine {info.engine} of this fleet; leave them out"
        raise InvalidJob(message, field="logprobs")


def _generate(
    engine: Engine, info: EngineInfo, job: Job, prompt: Prompt, on_text: TakeText | None = None
) -> PendingAnswer:
    began_ns = time.time_ns()
    future = engine.submit(prompt) if on_text is None else engine.submit(prompt, on_text)

    def finish() -> RawAnswer:
        error = future.exception()
        if error is not None and not isinstance(error, ForebayError):
            raise error
        return _ended(job, info, began_ns, error or future.result())

    return PendingAnswer(finish, future)


def _telling(info: EngineInfo, take: TakeEnded) -> TakeEnd:
    """Return what has `take` told how the prompts ended that begin now."""
    began_ns = time.time_ns()
    return lambda prompt_id, end: take(prompt_id, Ended(info, began_ns, end))


def _ended(job: Job, info: EngineInfo, began_ns: int, end: Completion | ForebayError) -> RawAnswer:
    """Return the answer; an error about the prompt names the job's field instead."""
    if isinstance(end, Completion):
        record_span(info, end, began_ns)
        return _raw_answer(job, info, end)
    if isinstance(end, InvalidJob) and job.kind != "generate" and end.field:
        fields = _DECIDE_FIELDS if job.kind == "decide" else {"messages": "text"}
        end.field = fields.get(end.field, end.field)
    raise end


def _raw_answer(job: Job, info: EngineInfo, completion: Completion) -> RawAnswer:
    content, finish = bounded.content_of(job, completion)
    return RawAnswer(
        info.model, info.revision, completion.tokens_in, completion.tokens_out, content, finish,
        completion.low_logprob, completion.tokens_cached,
    )  # fmt: skip
