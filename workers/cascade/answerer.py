"""Answer: begin a generation on the engine now, wait for it when it is needed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from forebay.routing.errors import BadAnswer, Expired, InvalidJob, Lost
from forebay.routing.jobs import Content, Embed, Embedding, Job
from forebay.workers.cascade import similarity
from forebay.workers.cascade.stages import RawAnswer
from forebay.workers.engines.engine import Completion, Ending, Engine, EngineInfo, Prompt, Vectors
from forebay.workers.prompts import bounded

#: The fields of a `Decide` request, by the part of its prompt that an error names.
_DECIDE_FIELDS = {"messages": "state", "labels": "questions"}

#: Wait for an answer that has been begun, and return it.
PendingAnswer = Callable[[], RawAnswer]


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
        info = self.info
        if info.embed_model and (job.kind == "embed" or self._by_similarity(job)):
            return info.embed_model, info.embed_revision or ""
        return info.model, info.revision

    def begin(self, job: Job, prompt_id: str, *, best_effort: bool = False) -> PendingAnswer:
        """Begin the answer to a job; embeddings are computed only when they are waited for.

        `Prompt` says what the best effort is.
        """
        request = job.request
        if isinstance(request, Embed):
            return lambda: self._embedded(job, request)
        if self._by_similarity(job):
            return lambda: self._nearest(job)
        info = self.info
        prompt = bounded.local(job, info, prompt_id=prompt_id)
        if best_effort:
            prompt = prompt.model_copy(update={"best_effort": True})
        return _generate(self._engine, info, job, prompt)

    def begin_second(self, job: Job, prompt_id: str) -> PendingAnswer:
        """Begin a second answer: from the other model, or from the same model to other words.

        Another model makes mistakes of its own, so it is asked in the same words. Its constraint
        is enforced as far as that engine can; the checks hold the rest.

        Raises:
            InvalidJob: The kind has no prompt (`embed`).
        """
        engine = self._other or self._engine
        word = bounded.local if self._other else bounded.reworded
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

    def _by_similarity(self, job: Job) -> bool:
        return job.kind in {"classify", "decide"} and self.info.classify == "similarity"

    def _embedded(self, job: Job, request: Embed) -> RawAnswer:
        vectors = self._engine.embed(list(request.texts))
        content = Embedding(vectors=vectors.vectors)
        return RawAnswer(*self.signature(job), vectors.tokens_in, 0, content)

    def _nearest(self, job: Job) -> RawAnswer:
        answer = similarity.decide if job.kind == "decide" else similarity.classify
        content, tokens_in = answer(job, self._engine.embed)
        return RawAnswer(*self.signature(job), tokens_in, 0, content)

    @property
    def _engines(self) -> tuple[Engine, ...]:
        return (self._engine, self._other) if self._other else (self._engine,)


def _generate(engine: Engine, info: EngineInfo, job: Job, prompt: Prompt) -> PendingAnswer:
    future = engine.submit(prompt)
    return lambda: _raw_answer(job, info, _completion(job, future))


def _completion(job: Job, future: Future[Completion]) -> Completion:
    """Wait for the completion; an error about the prompt names the job's field instead."""
    try:
        return future.result()
    except InvalidJob as error:
        fields = _DECIDE_FIELDS if job.kind == "decide" else {"messages": "text"}
        if job.kind != "generate" and error.field:
            error.field = fields.get(error.field, error.field)
        raise


def _raw_answer(job: Job, info: EngineInfo, completion: Completion) -> RawAnswer:
    content, finish = _content(job, completion)
    tokens = completion.tokens_in, completion.tokens_out
    return RawAnswer(info.model, info.revision, *tokens, content, finish, completion.low_logprob)


def _content(job: Job, completion: Completion) -> tuple[Content | None, Ending]:
    """Return the content of a completion, `None` if it cannot be read, and how the text ended."""
    if completion.finish == "cancelled":
        raise Lost
    if completion.finish == "deadline":
        raise Expired("the deadline passed while the job was worked")
    finish = completion.finish
    try:
        content = bounded.parse_answer(
            job,
            completion.text,
            option_logprobs=completion.option_logprobs,
            branch_logprobs=completion.branch_logprobs,
            finish=finish,
        )
    except BadAnswer:
        return None, finish
    return content, finish
