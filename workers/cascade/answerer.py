"""How the engine makes the answer of a job: begun here, waited for where it is needed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from forebay.routing.errors import BadAnswer, Expired, InvalidJob, Lost
from forebay.routing.jobs import Content, Embed, Embedding, Job
from forebay.workers.cascade import similarity
from forebay.workers.engines.engine import Completion, Ending, Engine, EngineInfo, Prompt, Vectors
from forebay.workers.prompts import parsing, prompts, rewording


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """What the engine made of a job; no content where it cannot be read as an answer.

    Attributes:
        low_logprob: 10 % quantile of its tokens' natural-log probabilities, where known.
    """

    model: str
    revision: str
    tokens_in: int
    tokens_out: int
    content: Content | None
    finish: Ending = "stop"
    low_logprob: float | None = None


#: Wait for an answer that has been begun.
PendingAnswer = Callable[[], RawAnswer]


class Answerer:
    """Makes answers on one engine, and second ones on another where there is one.

    What waits for one raises the engine's errors; `Lost` where it was cancelled, and `Expired`
    where the job's deadline passed meanwhile.
    """

    def __init__(self, engine: Engine, other: Engine | None = None) -> None:
        self._engine = engine
        self._other = other

    @property
    def info(self) -> EngineInfo:
        """What the engine is now; after a restart it may hold another model."""
        return self._engine.info()

    @property
    def encoder(self) -> Callable[[list[str]], Vectors] | None:
        """Makes vectors of texts, where the engine can."""
        return self._engine.embed if self.info.embed_model else None

    def signature(self, job: Job) -> tuple[str, str]:
        """Model and revision that answer this job here."""
        info = self.info
        if info.embed_model and (job.kind == "embed" or self._by_similarity(job)):
            return info.embed_model, info.embed_revision or ""
        return info.model, info.revision

    def begin(self, job: Job, prompt_id: str) -> PendingAnswer:
        """Begin the answer of a job."""
        request = job.request
        if isinstance(request, Embed):
            return lambda: self._embedded(job, request)
        if self._by_similarity(job):
            return lambda: self._nearest(job)
        info = self.info
        return _generate(self._engine, info, job, prompts.local(job, info, prompt_id=prompt_id))

    def begin_second(self, job: Job, prompt_id: str) -> PendingAnswer:
        """Begin another answer: of the other model, or of the same one to other words.

        Another model makes mistakes of its own, so it is asked in the same words.

        Raises:
            InvalidJob: The kind has no prompt (`embed`).
        """
        engine = self._other or self._engine
        word = prompts.local if self._other else rewording.reworded
        info = engine.info()
        return _generate(engine, info, job, word(job, info, prompt_id=prompt_id))

    def stop(self, prompt_id: str) -> None:
        """Cut an answer short; one that is not being made is none's business."""
        for engine in self._engines:
            engine.cancel(prompt_id)

    def close(self) -> None:
        """Stop the engines."""
        for engine in self._engines:
            engine.close()

    def _by_similarity(self, job: Job) -> bool:
        return job.kind == "classify" and self.info.classify == "similarity"

    def _embedded(self, job: Job, request: Embed) -> RawAnswer:
        vectors = self._engine.embed(list(request.texts))
        content = Embedding(vectors=vectors.vectors)
        return RawAnswer(*self.signature(job), vectors.tokens_in, 0, content)

    def _nearest(self, job: Job) -> RawAnswer:
        content, tokens_in = similarity.classify(job, self._engine.embed)
        return RawAnswer(*self.signature(job), tokens_in, 0, content)

    @property
    def _engines(self) -> tuple[Engine, ...]:
        return (self._engine, self._other) if self._other else (self._engine,)


def _generate(engine: Engine, info: EngineInfo, job: Job, prompt: Prompt) -> PendingAnswer:
    future = engine.submit(prompt)
    return lambda: _made(job, info, _completed(job, future))


def _completed(job: Job, future: Future[Completion]) -> Completion:
    """The completion; an error that names the engine's prompt names the field it was made of."""
    try:
        return future.result()
    except InvalidJob as error:
        if error.field == "messages" and job.kind != "generate":
            error.field = "text"
        raise


def _made(job: Job, info: EngineInfo, completion: Completion) -> RawAnswer:
    content, finish = _read(job, completion)
    used = completion.tokens_in, completion.tokens_out
    return RawAnswer(info.model, info.revision, *used, content, finish, completion.low_logprob)


def _read(job: Job, completion: Completion) -> tuple[Content | None, Ending]:
    """The content of a completion, none where it cannot be read, and how it ended."""
    if completion.finish == "cancelled":
        raise Lost
    if completion.finish == "deadline":
        raise Expired("the deadline passed while it was worked")
    scores, finish = completion.option_logprobs, completion.finish
    try:
        return parsing.parse_answer(
            job, completion.text, option_logprobs=scores, finish=finish
        ), finish
    except BadAnswer:
        return None, finish
