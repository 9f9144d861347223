"""The contract between a worker and whatever makes tokens.

One conformance suite (`tests/test_engines.py`) runs over every engine. An engine answers many
requests at once from one continuously running batch; a caller submits and waits on a future.
Everything here travels as JSON between a worker and the engine's own process (`host.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field


class Frame(BaseModel):
    """Base of what passes between worker and engine: frozen, closed, silent about content."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Choice(Frame):
    """The text must be one of these, exactly."""

    type: Literal["choice"] = "choice"
    options: tuple[str, ...] = Field(repr=False)


class JsonShape(Frame):
    """The text must be JSON that validates against this schema (draft 2020-12)."""

    type: Literal["json"] = "json"
    schema_: dict[str, Any] = Field(repr=False)


class Pattern(Frame):
    """The whole text must match this regular expression."""

    type: Literal["regex"] = "regex"
    regex: str = Field(repr=False)


Constraint = Annotated[Choice | JsonShape | Pattern, Field(discriminator="type")]


class Turn(Frame):
    """One message of the prompt."""

    role: Literal["system", "user", "assistant"]
    content: str = Field(repr=False)


class Prompt(Frame):
    """One request to an engine.

    Attributes:
        id: unique among the requests in flight; `cancel` names it.
        messages: rendered with the model's own chat template.
        max_tokens: hard limit on what is generated.
        deadline: Unix time in seconds after which the answer is of no use.
        priority: lower goes first: 0 interactive, 1 bulk.
        constraint: what the text must look like; an engine that cannot hold it refuses the
            request with `InvalidJob`, it never ignores it.
        score_options: with a `Choice`, return the log-probability of every option as well.
    """

    id: str
    messages: tuple[Turn, ...] = Field(min_length=1, repr=False)
    max_tokens: int = Field(ge=1)
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = Field((), repr=False)
    seed: int | None = None
    deadline: float | None = None
    priority: int = 0
    constraint: Constraint | None = None
    score_options: bool = False


Ending = Literal["stop", "length"]  # of a text that can be read as an answer
Finish = Ending | Literal["cancelled", "deadline"]


class Completion(Frame):
    """What an engine made of a prompt.

    Attributes:
        finish: `stop` the model ended, `length` it was cut at `max_tokens` or the context,
            `cancelled` and `deadline` carry what there was until then.
        mean_logprob: mean natural-log probability of the generated tokens, where known.
        min_logprob: of the least probable generated token, where known.
        low_logprob: 10 % quantile of the generated tokens' natural-log probabilities, where
            known. Unlike a mean it does not rise with the length of an answer.
        option_logprobs: by option, where `score_options` was asked.
        queued_s, prefill_s, decode_s: seconds in the engine's queue, on the prompt, on the answer.
    """

    id: str
    text: str = Field(repr=False)
    tokens_in: int
    tokens_out: int
    finish: Finish
    mean_logprob: float | None = None
    min_logprob: float | None = None
    low_logprob: float | None = None
    option_logprobs: dict[str, float] | None = Field(None, repr=False)
    queued_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0


def low(logprobs: Sequence[float]) -> float | None:
    """The 10 % quantile, the nearest rank from below; none of none."""
    return sorted(logprobs)[(len(logprobs) - 1) // 10] if logprobs else None


class Vectors(Frame):
    """Embeddings of unit length, in the order of the texts, and the tokens (or words) read."""

    vectors: tuple[tuple[float, ...], ...] = Field(repr=False)
    tokens_in: int


class EngineInfo(Frame):
    """What an engine is and how much it takes.

    Attributes:
        engine: `echo`, `llamacpp`, `exl2`, `exl3`.
        model, revision: name, and digest (first 12 hex digits of SHA-256) of the weights;
            both reach every answer.
        context_tokens: prompt and answer together, of one request.
        slots: requests in the running batch at once.
        embed_model, embed_revision, embed_dimensions: of the embedding model, where there is one.
        classify: how this engine labels best: by the generative model's option scores
            (`model`) or by similarity of embeddings (`similarity`).
    """

    engine: str
    model: str
    revision: str
    context_tokens: int
    slots: int
    embed_model: str | None = None
    embed_revision: str | None = None
    embed_dimensions: int | None = None
    classify: Literal["model", "similarity"] = "model"


class Engine(Protocol):
    """What every engine does. All methods may be called from any thread."""

    def info(self) -> EngineInfo:
        """What it is; does not change while it runs."""

    def submit(self, prompt: Prompt) -> Future[Completion]:
        """Join the running batch.

        The future ends with a `Completion`, or with one of `TooLong` (prompt plus one token is
        longer than the context), `InvalidJob` (a constraint it cannot hold), `EngineBusy` (its
        own queue is full) or `EngineDied`.
        """

    def cancel(self, prompt_id: str) -> None:
        """End it soon; its future completes with `finish="cancelled"`. Unknown ids are ignored."""

    def embed(self, texts: list[str]) -> Vectors:
        """Vectors of unit length, blocking.

        Raises:
            Unavailable: This engine has no embedding model.
            EngineBusy: It is just being started again.
            EngineDied: The engine broke meanwhile.
        """

    def steps(self) -> int:
        """Counts up as long as it makes progress; the watchdog looks at it."""

    def close(self) -> None:
        """Stop; what is in flight ends with `EngineDied`. Closing twice is fine."""
