"""The echo engine: it needs no model, repeats the prompt, and obeys directives in it.

It ships with Forebay. Tests, benchmarks of the overhead and the chaos suite use it through the same
contract as the real engines. It is wrong, slow or broken only if a prompt asks for that.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import threading
import time
from dataclasses import dataclass, field

from forebay.routing.base import made
from forebay.routing.errors import ForebayError, InvalidJob
from forebay.routing.receipts import TokenLogprob
from forebay.workers.engines.batching.echo_directives import Directives, without_directives
from forebay.workers.engines.batching.generator import Step
from forebay.workers.engines.batching.loop import BatchedEngine
from forebay.workers.engines.batching.schema_instances import completed, minimal_instance
from forebay.workers.engines.engine import (
    CachePages,
    Choice,
    Completion,
    EngineInfo,
    Finish,
    JsonSchema,
    Prompt,
    Vectors,
    too_long,
)
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.engines.stop_strings import before_stop

_VECTOR_DIMENSIONS = 64
_BEFORE_TEXT, _AFTER_TEXT = "Text:", ("\n\nLabels:", "\n\nQuestion:")
_WORD = re.compile(r"\s*\S+\s*")
_MAX_PAUSE_S = 0.02  # of one step, so that a cancellation is noticed soon


@dataclass
class _Sequence:
    """One answer, which is given out word by word."""

    prompt: Prompt
    tokens_in: int
    directives: Directives
    text: str
    stop_sequence: str | None
    delay: float
    due: float
    begun: float = field(default_factory=time.monotonic)
    words_out: int = 0
    dropped: bool = False

    def __post_init__(self) -> None:
        # A word and the spaces around it: cut anywhere, the pieces join to the text.
        self.words = _WORD.findall(self.text) or [self.text]
        self.limit = min(len(self.words), self.prompt.max_tokens)

    def advance(self, now: float) -> None:
        self.words_out += 1
        self.due = now + self.delay

    @property
    def over(self) -> bool:
        return self.dropped or self.words_out >= self.limit

    def completion(self) -> Completion:
        """Return the words so far as a completion."""
        finish = self._finish()
        return made(
            Completion,
            id=self.prompt.id,
            text="".join(self.words[: self.words_out]),
            tokens_in=self.tokens_in,
            tokens_out=self.words_out,
            finish=finish,
            stop_sequence=self.stop_sequence if finish == "stop" else None,
            low_logprob=math.log(self.directives.confidence) if self.words_out else None,
            option_logprobs=self._option_logprobs(),
            token_logprobs=self.tokens(),
            decode_s=time.monotonic() - self.begun,
        )

    def _finish(self) -> Finish:
        if self.words_out >= len(self.words):
            return "stop"
        return "length" if self.words_out >= self.limit else "cancelled"

    def tokens(self, since: int = 0) -> tuple[TokenLogprob, ...] | None:
        """Return the words from this one on as tokens, if the prompt asks for them."""
        if (others := self.prompt.logprobs) is None:
            return None
        logprob = math.log(self.directives.confidence)
        return tuple(
            TokenLogprob(token=word, logprob=logprob, top=((word, logprob),) if others else ())
            for word in self.words[since : self.words_out]
        )

    def _option_logprobs(self) -> dict[str, float] | None:
        constraint = self.prompt.constraint
        if not (isinstance(constraint, Choice) and self.prompt.score_options):
            return None
        options = constraint.options
        best = self.text if self.text in options else options[0]
        if len(options) == 1:
            return {best: 0.0}
        rest = math.log((1 - self.directives.confidence) / (len(options) - 1))
        return {
            option: math.log(self.directives.confidence) if option == best else rest
            for option in options
        }


class EchoGenerator:
    """Generates one word a step for each sequence.

    The answer is, in this order:
    1. the text of the directive `warm` if the temperature is above 0, or else that of `say`;
    2. for a `Choice`, the first option that occurs (in upper or lower case) in the last user
       message between "Text:" and "Labels:" or "Question:", or in the whole message if they are
       missing, or else the first option;
    3. for a `JsonSchema`, its smallest instance, or what closes the assistant's last message;
    4. otherwise the words of the last user message, without its directives and without what the
       assistant's last message says of them already.

    A stop string cuts every text that has no constraint.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self.slots = self.branches_at_once = settings.slots
        self._context = settings.context_tokens
        self._delay = settings.echo_delay_s
        self._sequences: dict[str, _Sequence] = {}

    def fits(self, prompt: Prompt) -> bool:  # noqa: ARG002 - the contract's; there is always room
        """See `Generator.fits`: there is always room."""
        return True

    def admit(self, prompt: Prompt) -> None:
        """Decide what to answer.

        Raises:
            TooLong: The prompt and one word are longer than the context.
            InvalidJob: The constraint is a regular expression, or a schema without a simple
                instance; or a directive is wrong.
        """
        tokens_in = _tokens_in(prompt)
        room = self._context - tokens_in
        if room < 1:
            raise too_long(prompt.messages, tokens_in, self._context)
        asked = _last_user_message(prompt)
        directives = Directives.of(asked)
        delay = self._delay if directives.delay is None else directives.delay
        stops = prompt.stop if prompt.constraint is None else ()
        text, stop = before_stop(_answer(prompt, asked, directives), stops)
        sequence = _Sequence(
            prompt, tokens_in, directives, text, stop, delay, time.monotonic() + delay
        )
        sequence.limit = min(sequence.limit, room)
        self._sequences[prompt.id] = sequence

    @property
    def running(self) -> int:
        """How many sequences are in the batch."""
        return len(self._sequences)

    def step(self) -> Step:
        """Give out a word of every sequence whose delay is over."""
        self._obey()
        self._pause()
        now = time.monotonic()
        sequences = self._sequences.values()
        due = [sequence for sequence in sequences if sequence.due <= now and not sequence.dropped]
        for sequence in due:
            sequence.advance(now)
        streamed = [one for one in due if one.prompt.stream]
        texts = {one.prompt.id: one.words[one.words_out - 1] for one in streamed}
        tokens = {one.prompt.id: one.tokens(one.words_out - 1) or () for one in streamed}
        ended: dict[str, Completion | ForebayError] = {
            key: sequence.completion() for key, sequence in self._sequences.items() if sequence.over
        }
        for key in ended:
            del self._sequences[key]
        return Step(moved=bool(due or ended), ended=ended, texts=texts, tokens=tokens)

    def drop(self, prompt_id: str) -> None:
        """See `Generator.drop`: the next step ends the sequence."""
        self._sequences[prompt_id].dropped = True

    def close(self) -> None:
        """Forget all sequences."""
        self._sequences.clear()

    def _obey(self) -> None:
        """Carry out the directives that harm the engine."""
        for sequence in self._sequences.values():
            if sequence.directives.noise:
                os.write(1, b"noise\n")
            if sequence.directives.crash:
                os._exit(70)
            if sequence.directives.fail:
                raise RuntimeError("a directive asked for it")
            if sequence.directives.hang:
                threading.Event().wait()

    def _pause(self) -> None:
        """Sleep until the next word is due, but not for long."""
        if any(sequence.dropped for sequence in self._sequences.values()):
            return
        soonest = min((sequence.due for sequence in self._sequences.values()), default=0.0)
        if (pause := soonest - time.monotonic()) > 0:
            time.sleep(min(pause, _MAX_PAUSE_S))


class EchoEngine(BatchedEngine):
    """The echo engine; a token is a word."""

    def __init__(self, settings: EngineSettings) -> None:
        self._info = EngineInfo(
            engine="echo",
            model=settings.echo_model,
            revision=_revision(settings.echo_model),
            context_tokens=settings.context_tokens,
            slots=settings.slots,
            embed_model="echo",
            embed_revision=_revision("echo"),
            logprobs=True,
        )
        self._echo = EchoGenerator(settings)
        super().__init__(self._echo, reserved=settings.reserved)

    def info(self) -> EngineInfo:
        """See `Engine.info`."""
        return self._info

    def pages(self) -> CachePages:
        """See `Engine.pages`. Each request holds one page."""
        return CachePages(used=self._echo.running, total=self._info.slots)

    def embed(self, texts: list[str]) -> Vectors:
        """See `Engine.embed`. A vector is made from its text's digest, so equal texts are equal."""
        vectors = tuple(_vector(text) for text in texts)
        self._count_step()
        return Vectors(vectors=vectors, tokens_in=sum(len(text.split()) for text in texts))


def _tokens_in(prompt: Prompt) -> int:
    return sum(len(turn.content.split()) for turn in prompt.messages)


def _last_user_message(prompt: Prompt) -> str:
    users = (turn.content for turn in reversed(prompt.messages) if turn.role == "user")
    return next(users, "")


def _answer(prompt: Prompt, asked: str, directives: Directives) -> str:
    """Return the text that `EchoGenerator` describes."""
    if (ordered := directives.answer(prompt.temperature)) is not None:
        return ordered
    text = without_directives(asked).strip()
    match prompt.constraint:
        case None:
            begun = prompt.messages[-1]
            return text.removeprefix(begun.content if begun.role == "assistant" else "")
        case Choice(options=options):
            labelled = _text_to_label(text).casefold()
            return next((opt for opt in options if opt.casefold() in labelled), options[0])
        case JsonSchema(schema_=schema):
            if prompt.prefill is not None:
                return completed(prompt.prefill, schema)
            return json.dumps(minimal_instance(schema, best_effort=prompt.best_effort))
    raise InvalidJob("the echo engine cannot enforce a regular expression", field="regex")


def _text_to_label(message: str) -> str:
    """Return the message without its list of labels, which names every label."""
    end = max(message.rfind(mark) for mark in _AFTER_TEXT)
    message = message[:end] if end > 0 else message
    return message.partition(_BEFORE_TEXT)[2] or message


def _vector(text: str) -> tuple[float, ...]:
    digest = hashlib.shake_256(text.encode()).digest(_VECTOR_DIMENSIONS)
    raw = [byte - 127.5 for byte in digest]  # never zero, so there is always a direction
    length = math.sqrt(sum(value * value for value in raw))
    return tuple(value / length for value in raw)


def _revision(model: str) -> str:
    """Return the revision of a model of this name: two names are two models."""
    return hashlib.sha256(f"forebay {model} 1".encode()).hexdigest()[:12]
