"""The engine that needs no model: it echoes, and does as it is told.

It ships. Tests, overhead benchmarks and the chaos suite use it through the same contract as the
real ones; what it does wrong, slowly or fatally, it does because a prompt asked for it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import threading
import time
from dataclasses import dataclass, field, fields
from typing import Self

from forebay.routing.errors import ForebayError, InvalidJob, TooLong
from forebay.workers.engines.batching.generator import Step
from forebay.workers.engines.batching.loop import BatchedEngine
from forebay.workers.engines.batching.schema_instances import minimal_instance
from forebay.workers.engines.engine import (
    Choice,
    Completion,
    EngineInfo,
    JsonShape,
    Prompt,
    Vectors,
)
from forebay.workers.engines.settings import EngineSettings

_DIMENSIONS = 64
_REVISION = hashlib.sha256(b"forebay echo 1").hexdigest()[:12]
_DIRECTIVE = re.compile(r"\[\[echo:\s*(\w+)\s*(?:=(.*?))?\]\]", re.DOTALL)
_BEFORE, _BEHIND = "Text:", "\n\nLabels:"
_NAP_S = 0.02  # the longest pause of a step, so that a cancel is seen soon


@dataclass(frozen=True)
class Directives:
    """What the last user message asks for: `[[echo: name]]` or `[[echo: name=value]]`.

    Attributes:
        delay: seconds for each word, instead of the engine's own.
        say: answer exactly this, even where a constraint forbids it: a model that is wrong.
        warm: answer this instead where the temperature is above 0: a model that is not sure.
        confidence: probability of what it answers.
        noise: write to standard output on the way, as some libraries do.
        hang: make no more steps, and let nobody else make one.
        crash: end the process on the spot; only sane in an engine's own process.
        fail: raise an error in the step, as a broken library would.
    """

    delay: float | None = None
    say: str | None = field(default=None, repr=False)
    warm: str | None = field(default=None, repr=False)
    confidence: float = 0.9
    noise: bool = False
    hang: bool = False
    crash: bool = False
    fail: bool = False

    @classmethod
    def of(cls, text: str) -> Self:
        """The directives in a text.

        Raises:
            InvalidJob: There is no such directive, or its value is none.
        """
        given = {name: value.strip() for name, value in _DIRECTIVE.findall(text)}
        if not given.keys() <= {one.name for one in fields(cls)}:
            raise InvalidJob("holds an unknown echo directive", field="messages")
        try:
            return cls(
                delay=float(given["delay"]) if "delay" in given else None,
                say=given.get("say"),
                warm=given.get("warm"),
                confidence=min(max(float(given.get("confidence", "0.9")), 1e-6), 1 - 1e-6),
                **{name: name in given for name in ("noise", "hang", "crash", "fail")},
            )
        except ValueError:
            raise InvalidJob("holds an echo directive without a number", field="messages") from None


@dataclass
class _Sequence:
    """One answer on its way out, a word a step."""

    prompt: Prompt
    directives: Directives
    text: str
    delay: float
    due: float
    begun: float = field(default_factory=time.monotonic)
    out: int = 0
    dropped: bool = False

    def __post_init__(self) -> None:
        # A word and the space behind it: cut anywhere, the pieces join to the text.
        self.words = re.findall(r"\s*\S+\s*", self.text) or [self.text]
        self.limit = min(len(self.words), self.prompt.max_tokens)

    def advance(self, now: float) -> None:
        self.out += 1
        self.due = now + self.delay

    @property
    def over(self) -> bool:
        return self.dropped or self.out >= self.limit

    def completion(self) -> Completion:
        """What there is, as a completion."""
        confidence = math.log(self.directives.confidence)
        return Completion(
            id=self.prompt.id,
            text="".join(self.words[: self.out]),
            tokens_in=_tokens_in(self.prompt),
            tokens_out=self.out,
            finish=self._finish(),
            mean_logprob=confidence if self.out else None,
            min_logprob=confidence if self.out else None,
            low_logprob=confidence if self.out else None,
            option_logprobs=self._scores(),
            decode_s=time.monotonic() - self.begun,
        )

    def _finish(self) -> str:
        if self.out >= len(self.words):
            return "stop"
        return "length" if self.out >= self.limit else "cancelled"

    def _scores(self) -> dict[str, float] | None:
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
    """Makes a word a step for each sequence.

    What it says, in this order:
    1. what `warm` tells it where the temperature is above 0, and else what `say` does;
    2. of a `Choice`, the first option that occurs (in any case) in the last user message between
       "Text:" and "Labels:", or in all of it where they are missing; else the first option;
    3. of a `JsonShape`, its smallest instance;
    4. otherwise the words of the last user message, without its directives.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self.slots = settings.slots
        self._context = settings.context_tokens
        self._delay = settings.echo_delay_s
        self._sequences: dict[str, _Sequence] = {}

    def fits(self, prompt: Prompt) -> bool:  # noqa: ARG002 - the contract's; there is always room
        """Always."""
        return True

    def admit(self, prompt: Prompt) -> None:
        """Decide what to say.

        Raises:
            TooLong: The prompt and one word are longer than the context.
            InvalidJob: A regular expression, or a schema without a simple instance.
        """
        room = self._context - _tokens_in(prompt)
        if room < 1:
            raise TooLong(f"is longer than the context of {self._context} tokens", field="messages")
        directives = Directives.of(_last_user(prompt))
        delay = self._delay if directives.delay is None else directives.delay
        sequence = _Sequence(
            prompt, directives, _answer(prompt, directives), delay, time.monotonic() + delay
        )
        sequence.limit = min(sequence.limit, room)
        self._sequences[prompt.id] = sequence

    def step(self) -> Step:
        """A word for every sequence whose pause is over."""
        self._obey()
        self._nap()
        now = time.monotonic()
        due = [one for one in self._sequences.values() if one.due <= now and not one.dropped]
        for sequence in due:
            sequence.advance(now)
        ended: dict[str, Completion | ForebayError] = {
            key: one.completion() for key, one in self._sequences.items() if one.over
        }
        for key in ended:
            del self._sequences[key]
        return Step(moved=bool(due or ended), ended=ended)

    def drop(self, prompt_id: str) -> None:
        """The next step ends it."""
        self._sequences[prompt_id].dropped = True

    def close(self) -> None:
        """Forget everything."""
        self._sequences.clear()

    def _obey(self) -> None:
        for one in self._sequences.values():
            if one.directives.noise:
                os.write(1, b"noise\n")
            if one.directives.crash:
                os._exit(70)
            if one.directives.fail:
                raise RuntimeError("told to")
            if one.directives.hang:
                threading.Event().wait()

    def _nap(self) -> None:
        if any(one.dropped for one in self._sequences.values()):
            return
        soonest = min((one.due for one in self._sequences.values()), default=0.0)
        if (pause := soonest - time.monotonic()) > 0:
            time.sleep(min(pause, _NAP_S))


class EchoEngine(BatchedEngine):
    """The echo engine; tokens are words."""

    def __init__(self, settings: EngineSettings) -> None:
        self._info = EngineInfo(
            engine="echo",
            model="echo",
            revision=_REVISION,
            context_tokens=settings.context_tokens,
            slots=settings.slots,
            embed_model="echo",
            embed_revision=_REVISION,
            embed_dimensions=_DIMENSIONS,
        )
        super().__init__(EchoGenerator(settings))

    def info(self) -> EngineInfo:
        """See `Engine.info`."""
        return self._info

    def embed(self, texts: list[str]) -> Vectors:
        """Vectors made of each text's digest: the same text gives the same one, always."""
        vectors = tuple(_vector(text) for text in texts)
        self._count_step()
        return Vectors(vectors=vectors, tokens_in=sum(len(text.split()) for text in texts))


def _tokens_in(prompt: Prompt) -> int:
    return sum(len(turn.content.split()) for turn in prompt.messages)


def _last_user(prompt: Prompt) -> str:
    users = [turn.content for turn in prompt.messages if turn.role == "user"]
    return users[-1] if users else ""


def _answer(prompt: Prompt, directives: Directives) -> str:
    heard = _last_user(prompt)
    told = directives.warm if prompt.temperature > 0 else None
    if (told := directives.say if told is None else told) is not None:
        return told
    text = _DIRECTIVE.sub("", heard).strip()
    match prompt.constraint:
        case None:
            return _before_stop(text, prompt.stop)
        case Choice(options=options):
            low = _between(text).casefold()
            return next((one for one in options if one.casefold() in low), options[0])
        case JsonShape(schema_=schema):
            return json.dumps(minimal_instance(schema))
    raise InvalidJob("the echo engine cannot hold a regular expression", field="regex")


def _between(text: str) -> str:
    """What is to be labelled, without the labels, which occur in every prompt."""
    text = text.rpartition(_BEHIND)[0] or text
    return text.partition(_BEFORE)[2] or text


def _before_stop(text: str, stops: tuple[str, ...]) -> str:
    for stop in stops:
        text = text.partition(stop)[0]
    return text


def _vector(text: str) -> tuple[float, ...]:
    digest = hashlib.shake_256(text.encode()).digest(_DIMENSIONS)
    raw = [byte - 127.5 for byte in digest]  # never zero, so there is always a direction
    length = math.sqrt(sum(value * value for value in raw))
    return tuple(value / length for value in raw)
