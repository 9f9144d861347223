"""The contract between a worker and an engine, which generates text and embeddings.

An engine answers many requests at once from one batch (continuous batching); a caller submits a
prompt and waits on a future. All values here travel as JSON between the worker and the engine's
process (`host/`). `tests/workers/engines/test_conformance.py` runs over every engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from forebay.routing.base import changed, made
from forebay.routing.errors import ForebayError, TooLong
from forebay.routing.receipts import TokenLogprob


class Frame(BaseModel):
    """The base of all values that pass between a worker and an engine.

    Values are frozen, unknown fields are refused, and validation errors do not quote the input.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Choice(Frame):
    """A constraint: the text must be exactly one of these options."""

    type: Literal["choice"] = "choice"
    options: tuple[str, ...] = Field(repr=False)


class JsonSchema(Frame):
    """A constraint: the text must be JSON that validates against this schema (draft 2020-12)."""

    type: Literal["json"] = "json"
    schema_: dict[str, Any] = Field(repr=False)


class Pattern(Frame):
    """A constraint: the whole text must match this regular expression."""

    type: Literal["regex"] = "regex"
    regex: str = Field(repr=False)


Constraint = Annotated[Choice | JsonSchema | Pattern, Field(discriminator="type")]


class Turn(Frame):
    """One message of a prompt."""

    role: Literal["system", "user", "assistant"]
    content: str = Field(repr=False)


class Branch(Frame):
    """One of several ends of a prompt, whose options are scored.

    Attributes:
        text: what follows the prompt's last message.
        options: one of them is the answer.
    """

    text: str = Field(repr=False)
    options: tuple[str, ...] = Field(min_length=2, repr=False)


class Prompt(Frame):
    """One request to an engine.

    Attributes:
        id: unique among the requests in flight; `Engine.cancel` takes it.
        messages: the conversation, which the engine renders with the model's own chat template.
            The text continues the last turn if that is the assistant's.
        max_tokens: the most tokens that the engine may generate.
        deadline: Unix time in seconds after which nobody needs the answer.
        priority: the lowest number is admitted first: 0 interactive, 1 bulk.
        tenant: whose request it is; tenants have equal shares of the batch.
        constraint: what the text must look like, after the turn that it continues. An engine that
            cannot enforce it refuses the request with `InvalidJob`, and never ignores it.
        best_effort: the engine enforces as much of the constraint as it can, and refuses the
            request only if nothing of the constraint can be enforced. The caller checks the text.
        score_options: with a `Choice`, also return the log-probability of every option.
        stream: hand out the text while it is generated, as far as the engine can.
        branches: the prompt goes on in each of these ways, and the options of each are scored. The
            engine reads what they share once if it can. There is no text or constraint then.
        logprobs: also return each token's probability, and so many of the most probable tokens at
            its place. Only for an engine whose `EngineInfo.logprobs` is true.
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
    tenant: str = ""
    constraint: Constraint | None = None
    best_effort: bool = False
    score_options: bool = False
    stream: bool = False
    branches: tuple[Branch, ...] = Field((), repr=False)
    logprobs: int | None = None

    @property
    def prefill(self) -> str | None:
        """The assistant's last turn, if the text continues it."""
        return self.messages[-1].content if self.messages[-1].role == "assistant" else None


def alike(prompt: Prompt, contents: Mapping[str, str]) -> list[Prompt]:
    """Return prompts like one, each with an id and with what its last turn holds."""
    *before, last = prompt.messages
    turns = {key: made(Turn, role=last.role, content=content) for key, content in contents.items()}
    return [changed(prompt, id=key, messages=(*before, turn)) for key, turn in turns.items()]


def too_long(turns: Sequence[Turn], tokens: int, context: int) -> TooLong:
    """Return the error of a prompt that is longer than the context, with both sizes in it."""
    chars = sum(len(turn.content) for turn in turns)
    return TooLong(
        f"is longer than the context of {context} tokens: the prompt has {tokens} tokens "
        f"({chars} characters)",
        field="messages",
    )


Ending = Literal["stop", "length"]  # how a text ends that can be read as an answer
Finish = Ending | Literal["cancelled", "deadline"]


class Completion(Frame):
    """The text that an engine generated for a prompt.

    Attributes:
        finish: `stop`: the model ended the text. `length`: it was cut at `max_tokens` or at the end
            of the context. `cancelled`, `deadline`: the text so far, which may be empty.
        stop_sequence: the prompt's stop string that ended the text, if the engine knows it.
        tokens_cached: those of `tokens_in` that the engine had read before, for an earlier prompt.
        low_logprob: the 10 % quantile of the generated tokens' natural-log probabilities, if the
            engine knows them. Unlike a mean, the quantile does not rise with the answer's length.
        option_logprobs: the natural-log probability of each option, if `score_options` was set.
        branch_logprobs: the same for each branch of a prompt that has branches, in their order.
        token_logprobs: the tokens of the text with their probabilities, if `logprobs` was set.
        queued_s, prefill_s, decode_s: seconds of waiting, reading the prompt, and generating.
    """

    id: str
    text: str = Field(repr=False)
    tokens_in: int
    tokens_cached: int = 0
    tokens_out: int
    finish: Finish
    stop_sequence: str | None = Field(None, repr=False)
    low_logprob: float | None = None
    option_logprobs: dict[str, float] | None = Field(None, repr=False)
    branch_logprobs: tuple[dict[str, float], ...] | None = Field(None, repr=False)
    token_logprobs: tuple[TokenLogprob, ...] | None = Field(None, repr=False)
    queued_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0


class Vectors(Frame):
    """Embeddings of unit length.

    Attributes:
        vectors: one for each text, in their order.
        tokens_in: the tokens that were read; words, if the embedding model counts no tokens.
    """

    vectors: tuple[tuple[float, ...], ...] = Field(repr=False)
    tokens_in: int


class CardMemory(Frame):
    """The memory of a GPU that an engine planned to take, and what it holds after its warm-up.

    Attributes:
        off: the engine holds another amount than the plan's tolerance allows.
    """

    planned_bytes: int
    used_bytes: int
    off: bool


class CachePages(Frame):
    """The pages of an engine's KV cache: how many requests hold, of how many.

    A page that holds nothing but a prefix which no request uses now counts as free.
    """

    used: int = 0
    total: int = 0


class EngineInfo(Frame):
    """The model that an engine runs, and how much work the engine takes.

    Attributes:
        engine: the engine's name in `registry.ENGINES`.
        model: the name of the weights; every answer names it.
        revision: the first 12 hex digits of the weights' SHA-256; every answer names it.
        context_tokens: tokens of one request, prompt and answer together.
        slots: the requests that run in the batch at once.
        embed_model: the name of the embedding model, if there is one.
        embed_revision: the revision of the embedding model, if there is one.
        classify: how this engine labels texts and answers questions best: `model`, by the option
            scores of its language model, or `similarity`, by the similarity of embeddings.
        logprobs: this engine can return the probabilities of single tokens.
        memory: what the engine takes of its GPU; `None` if it has none.
    """

    engine: str
    model: str
    revision: str
    context_tokens: int
    slots: int
    embed_model: str | None = None
    embed_revision: str | None = None
    classify: Literal["model", "similarity"] = "model"
    logprobs: bool = False
    memory: CardMemory | None = None


class TakeText(Protocol):
    """Takes the text of an answer piece by piece, while it is generated."""

    def __call__(self, text: str, tokens: Sequence[TokenLogprob] = (), /) -> None:
        """Take new text, and its tokens if the prompt asks for probabilities. Returns at once.

        A token may come with a later text than its own, so a text may be empty.
        """


#: Takes a prompt's id, and the completion or error that it ended with. It must return at once.
TakeEnd = Callable[[str, Completion | ForebayError], object]


class Engine(Protocol):
    """The contract of every engine. All methods may be called from any thread."""

    def info(self) -> EngineInfo:
        """Return what the engine runs. It does not change while the engine runs."""

    def submit(self, prompt: Prompt, on_text: TakeText | None = None) -> Future[Completion]:
        """Queue a prompt for the running batch.

        `on_text` gets the text of a prompt with `stream`, in order, before the future ends. It may
        get less than the whole text, and nothing from an engine that cannot stream. The future ends
        with a `Completion`, or with one of these errors: `TooLong` (the prompt and one token are
        longer than the context), `InvalidJob` (a constraint that the engine cannot enforce),
        `EngineBusy` (the engine's own queue is full) or `EngineDied`.
        """

    def submit_all(self, prompts: Sequence[Prompt], on_end: TakeEnd) -> None:
        """Queue many prompts, as `submit` does; `on_end` gets the end of each, from any thread."""
        for prompt in prompts:
            self.submit(prompt).add_done_callback(partial(_tell_end, prompt.id, on_end))

    def submit_alike(self, prompt: Prompt, contents: Mapping[str, str], on_end: TakeEnd) -> None:
        """Queue many prompts, as `submit_all` does: those of `alike`."""
        self.submit_all(alike(prompt, contents), on_end)

    def cancel(self, prompt_id: str) -> None:
        """End a request soon; its future gets `finish="cancelled"`. Unknown ids are ignored."""

    def embed(self, texts: list[str]) -> Vectors:
        """Return vectors of unit length. Blocks.

        Raises:
            Unavailable: This engine has no embedding model.
            EngineBusy: The engine is being restarted.
            EngineDied: The engine broke meanwhile.
        """

    def steps(self) -> int:
        """Return a counter that rises while the engine makes progress; the watchdog reads it."""

    def pages(self) -> CachePages:
        """Return how full the KV cache is; without pages if the engine does not tell."""
        return CachePages()

    def close(self) -> None:
        """Stop. Requests in flight end with `EngineDied`. A second call does nothing."""


def _tell_end(prompt_id: str, on_end: TakeEnd, future: Future[Completion]) -> None:
    error = future.exception()
    on_end(prompt_id, error if isinstance(error, ForebayError) else future.result())
