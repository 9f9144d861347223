"""An engine that says what the script says, and echoes what the script leaves open."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from forebay.routing.errors import ForebayError
from forebay.routing.receipts import (
    Classification,
    Embedding,
    Extraction,
    Generation,
    Summary,
)
from forebay.routing.requests import AnyRequest
from forebay.testing.script import Reply, Script
from forebay.workers.engines.engine import (
    Choice,
    Completion,
    Engine,
    EngineInfo,
    Prompt,
    Vectors,
)

SURE = 0.99  # the probability of a scripted label for which the script names none


class ScriptedEngine:
    """Answers prompts with the scripted reply to the request that the thread works on."""

    def __init__(self, script: Script, echo: Engine) -> None:
        self._script = script
        self._echo = echo
        self._current = threading.local()

    @contextmanager
    def working(self, request: AnyRequest) -> Iterator[None]:
        """Have this thread's prompts answered with the reply to this request.

        The script is asked once for each attempt, however many prompts the attempt takes.
        """
        self._current.reply = self._script.reply(request)
        try:
            yield
        finally:
            self._current.reply = None

    def info(self) -> EngineInfo:
        """See `Engine.info`."""
        return self._echo.info()

    def submit(self, prompt: Prompt) -> Future[Completion]:
        """See `Engine.submit`."""
        reply = self._reply()
        if reply is None:
            return self._echo.submit(prompt)
        future: Future[Completion] = Future()
        if isinstance(reply, ForebayError):
            future.set_exception(reply)
        else:
            future.set_result(_completion(prompt, reply))
        return future

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
        reply: Reply | None = getattr(self._current, "reply", None)
        return reply


def _completion(prompt: Prompt, reply: Reply) -> Completion:
    """Return the text that a model would have said, so that the worker reads the reply from it."""
    text, finish = _text(reply), reply.finish if isinstance(reply, Generation) else "stop"
    return Completion(
        id=prompt.id,
        text=text,
        tokens_in=sum(len(turn.content.split()) for turn in prompt.messages),
        tokens_out=len(text.split()),
        finish=finish,
        option_logprobs=_option_logprobs(prompt, reply),
    )


def _text(reply: Reply) -> str:
    match reply:
        case Classification(label=label):
            return label
        case Extraction():
            return json.dumps(reply.model_dump(mode="json")["data"])
        case Summary(text=text) | Generation(text=text):
            return text
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
