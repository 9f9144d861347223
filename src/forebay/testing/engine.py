"""An engine that says what the script says, and echoes what the script leaves open."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from forebay.routing.errors import ForebayError, InvalidJob
from forebay.routing.jobs import Job
from forebay.routing.questions.decisions import Decisions
from forebay.routing.receipts import (
    Classification,
    Embedding,
    Extraction,
    Generation,
    Summary,
)
from forebay.routing.requests import AnyRequest
from forebay.testing.script import NotScripted, Reply, Script
from forebay.workers.engines.batching.schema_instances import minimal_instance
from forebay.workers.engines.engine import (
    Choice,
    Completion,
    Constraint,
    Engine,
    EngineInfo,
    JsonSchema,
    Pattern,
    Prompt,
    TakeText,
    Vectors,
)
from forebay.workers.engines.tokens import grammars
from forebay.workers.prompts import prompts
from forebay.workers.prompts.parsing import parse_answer
from forebay.workers.prompts.questions.stated_probabilities import as_stated

SURE = 0.99  # the probability of a scripted label for which the script names none
LOCAL = "local"


class ScriptedEngine(Engine):
    """Answers prompts with the scripted reply to the request that the thread works on.

    A constraint that the grammars of the real engines cannot hold is refused as they refuse it.
    """

    def __init__(self, script: Script, echo: Engine) -> None:
        self._script = script
        self._echo = echo
        self._current = threading.local()

    @contextmanager
    def working(self, request: AnyRequest) -> Iterator[None]:
        """Have this thread's prompts answered with the reply to this request.

        The script is asked with the first prompt, and once for each attempt, however many prompts
        the attempt takes.
        """
        self._current.request, self._current.asked = request, False
        try:
            yield
        finally:
            self._current.request = self._current.reply = None

    @property
    def is_working(self) -> bool:
        """Whether this thread works on a request."""
        return getattr(self._current, "request", None) is not None

    @property
    def failed(self) -> bool:
        """True if the script failed the request that this thread works on."""
        return self._current.asked and isinstance(self._current.reply, ForebayError)

    def info(self) -> EngineInfo:
        """See `Engine.info`."""
        return self._echo.info()

    def submit(self, prompt: Prompt, on_text: TakeText | None = None) -> Future[Completion]:
        """See `Engine.submit`. A scripted text streams in one piece, an echo not at all."""
        future: Future[Completion] = Future()
        try:
            _refuse_what_no_grammar_holds(prompt)
            reply = self._reply()
            if reply is None:
                return self._echoed(self._current.request, prompt)
            if isinstance(reply, ForebayError):
                raise reply
            completion = _completion(prompt, reply)
            if on_text is not None:
                on_text(completion.text)
            future.set_result(completion)
        except ForebayError as error:
            future.set_exception(error)
        return future

    def echo(self, job: Job, prompt_id: str) -> str:
        """Return the text that answers a job for which there is no rule.

        Raises:
            BadAnswer: The echo engine has no answer; the mistake is recorded in the script.
        """
        prompt = prompts.local(job, self.info(), prompt_id=prompt_id)
        completion = self._echoed(job.request, prompt).result()
        if completion.branch_logprobs is None:
            return completion.text
        return text_of(parse_answer(job, "", branch_logprobs=completion.branch_logprobs))

    def embed(self, texts: list[str]) -> Vectors:
        """See `Engine.embed`."""
        reply = self._reply()
        if isinstance(reply, ForebayError):
            raise reply
        vectors = self._echo.embed(texts)
        if isinstance(reply, Embedding):
            return Vectors(vectors=reply.vectors, tokens_in=vectors.tokens_in)
        return vectors

    def cancel(self, prompt_id: str) -> None:
        """See `Engine.cancel`."""
        self._echo.cancel(prompt_id)

    def steps(self) -> int:
        """See `Engine.steps`."""
        return self._echo.steps()

    def close(self) -> None:
        """See `Engine.close`."""
        self._echo.close()

    def _reply(self) -> Reply | None:
        """Return the reply of this attempt; ask the script if this is the first prompt."""
        if not self._current.asked:
            self._current.reply = self._script.reply(self._current.request, LOCAL)
            self._current.asked = True
        reply: Reply | None = self._current.reply
        return reply

    def _echoed(self, request: AnyRequest, prompt: Prompt) -> Future[Completion]:
        """Have the echo engine answer.

        Raises:
            BadAnswer: It has no answer; the mistake is recorded in the script.
        """
        if not _can_be_echoed(prompt.constraint):
            raise self._script.mistake(NotScripted(request))
        return self._echo.submit(prompt)


def _can_be_echoed(constraint: Constraint | None) -> bool:
    """Return whether the echo engine finds an answer that holds the constraint."""
    if not isinstance(constraint, JsonSchema):
        return not isinstance(constraint, Pattern)
    try:
        minimal_instance(constraint.schema_)
    except InvalidJob:
        return False
    return True


def _refuse_what_no_grammar_holds(prompt: Prompt) -> None:
    """Raise the `InvalidJob` of the real engines for a constraint that they cannot enforce.

    llguidance knows what it can compile. Without it, only what Forebay itself refuses is refused.
    """
    constraint = prompt.constraint
    if constraint is None:
        return
    body = grammars.body_of(constraint, prompt.max_tokens)
    try:
        from llguidance import LLMatcher  # noqa: PLC0415 - an extra
    except ImportError:
        return
    if LLMatcher.validate_grammar(grammars.grammar(body)):
        field = grammars.field_of(constraint)
        raise InvalidJob("asks for something that this engine cannot enforce", field=field)


def _completion(prompt: Prompt, reply: Reply) -> Completion:
    """Return the text that a model would have said, so that the worker reads the reply from it."""
    text, finish = text_of(reply), reply.finish if isinstance(reply, Generation) else "stop"
    return Completion(
        id=prompt.id,
        text=text,
        tokens_in=sum(len(turn.content.split()) for turn in prompt.messages),
        tokens_out=len(text.split()),
        finish=finish,
        option_logprobs=_option_logprobs(prompt, reply),
        branch_logprobs=_branch_logprobs(prompt, reply),
    )


def text_of(reply: Reply) -> str:
    """Return the text from which a worker reads this content."""
    match reply:
        case Classification(label=label):
            return label
        case Extraction():
            return json.dumps(reply.model_dump(mode="json")["data"])
        case Summary(text=text) | Generation(text=text):
            return text
        case Decisions():
            return as_stated(reply)
    raise TypeError(f"no text stands for {reply!r}")


def _option_logprobs(prompt: Prompt, reply: Reply) -> dict[str, float] | None:
    """Return the log-probability of each label; labels without a score share what is left."""
    constraint = prompt.constraint
    if not (isinstance(constraint, Choice) and isinstance(reply, Classification)):
        return None
    chosen = SURE if reply.probability is None else reply.probability
    known = {reply.label: chosen} | reply.scores
    others = [option for option in constraint.options if option not in known]
    share = max(0.0, 1 - sum(known.values())) / max(1, len(others))
    scores = {option: known.get(option, share) for option in constraint.options}
    return {option: math.log(max(score, 1e-9)) for option, score in scores.items()}


def _branch_logprobs(prompt: Prompt, reply: Reply) -> tuple[dict[str, float], ...] | None:
    """Return the log-probability of each option of each question.

    `None` if the reply does not fit the questions: then the worker finds its text to be wrong.
    """
    if not isinstance(reply, Decisions) or len(reply.answers) != len(prompt.branches):
        return None
    pairs = list(zip(prompt.branches, reply.answers, strict=True))
    if any(not answer.probabilities.keys() <= set(branch.options) for branch, answer in pairs):
        return None
    return tuple(
        {
            option: math.log(max(answer.probabilities.get(option, 0.0), 1e-9))
            for option in branch.options
        }
        for branch, answer in pairs
    )
