"""llama.cpp's own server, called in this process: the only file that imports xllamacpp.

This file turns llama.cpp's parameters, answers and errors into those of Forebay. It also hides
three habits of llama.cpp: it ignores a grammar that it cannot compile, it logs grammars and
prompts, and it listens on a port.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from forebay.routing.errors import InvalidJob, Misconfigured, Unavailable
from forebay.routing.receipts import TokenLogprob
from forebay.workers.engines.engine import Completion, Finish, Turn, too_long
from forebay.workers.engines.llamacpp.gguf import decision_type, special_ids
from forebay.workers.engines.quantiles import low_quantile
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.engines.stop_strings import StopStrings
from forebay.workers.engines.tokens import grammars, trial

_CHUNK_TOKENS = 256  # of the prompt between two chances to cancel: a second or two on one core
_PREFIX_CACHE_MIB = 256  # for prompts that slots have read; four times as fast if they recur
_SILENT = -1
_NO_REASONING_FORMAT = 0  # of xllamacpp's enumeration
_MIN_LOGPROB = -9_999.0  # of a token that only a grammar allowed; JSON knows no infinity
_FINISHES: dict[str | None, Finish] = {"stop": "stop", "length": "length"}


def _scored(token: dict[str, Any], others: int) -> TokenLogprob:
    """Return a token as llama.cpp scores it, with so many of the most probable tokens."""
    top = token.get("top_logprobs", ())[:others]
    pairs = tuple((one["token"], max(_MIN_LOGPROB, one["logprob"])) for one in top)
    logprob = max(_MIN_LOGPROB, token["logprob"])
    return TokenLogprob(token=token["token"], logprob=logprob, top=pairs)


@dataclass
class LlamaGeneration:
    """One generation of llama.cpp, collected chunk by chunk.

    Attributes:
        stopped: returns whether the generation is to end early.
        moved: called for every chunk with its text and its tokens, as a sign of life.
        ending: the text so far, and the stop string that ends it.
        logprobs: the natural-log probabilities of the tokens so far.
        given: how many characters and tokens were passed on, and where the last token ends.
        others: the most probable tokens to name at each place; `None` if no token is wanted.
        tokens: the tokens so far, as llama.cpp scores them; empty unless they are wanted.
        reason: why llama.cpp ended the text, if it did.
        timings: llama.cpp's times and counts, which come with the last chunk.
        progress: how much of the prompt llama.cpp has read.
        error: llama.cpp's error object, if it sent one.
    """

    stopped: Callable[[], bool]
    moved: Callable[[str, Sequence[TokenLogprob]], None]
    ending: StopStrings = field(default_factory=StopStrings)
    logprobs: list[float] = field(default_factory=list)
    given: tuple[int, int, int] = (0, 0, 0)
    others: int | None = None
    tokens: list[TokenLogprob] = field(default_factory=list, repr=False)
    reason: str | None = None
    timings: dict[str, float] = field(default_factory=dict)
    progress: dict[str, float] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)
    error: dict[str, Any] | None = field(default=None, repr=False)

    def take(self, chunk: dict[str, Any]) -> bool:
        """Take a chunk from llama.cpp; return True to end the generation."""
        self.error = chunk.get("error", self.error)
        self.timings = chunk.get("timings", self.timings)
        self.progress = chunk.get("prompt_progress", self.progress)
        for piece in chunk.get("choices", ()):  # at most one: nobody asks for alternatives
            self.ending.feed(piece["delta"].get("content") or "")
            self.reason = piece["finish_reason"] or self.reason
            scored = (piece.get("logprobs") or {}).get("content") or ()
            self.logprobs += (token["logprob"] for token in scored)
            if self.others is not None:
                self.tokens += (_scored(token, self.others) for token in scored)
        self._give_out()
        return self.ending.found is not None or self.stopped()

    def _give_out(self) -> None:
        """Pass on the text and the tokens that no stop string can end any more."""
        safe, (texts, tokens, place) = self.ending.safe, self.given
        whole = tokens if self.ending.stops else len(self.tokens)
        for token in self.tokens[whole:]:
            if place + len(token.token) > safe:
                break
            place, whole = place + len(token.token), whole + 1
        self.moved(self.ending.text[texts:safe], self.tokens[tokens:whole])
        self.given = safe, whole, place

    def completion(self, prompt_id: str) -> Completion:
        """Return the text so far as a completion."""
        found = self.ending.found
        text = self.ending.text if found is None else self.ending.text[: self.ending.safe]
        tokens = self.tokens if found is None else self.tokens[: self.given[1]]
        return Completion(
            id=prompt_id,
            text=text,
            tokens_in=int(self.progress.get("total", 0)),
            tokens_cached=int(self.timings.get("cache_n", 0)),
            tokens_out=int(self.timings.get("predicted_n", len(self.logprobs))),
            finish=_FINISHES.get(self.reason, "cancelled") if found is None else "stop",
            stop_sequence=found,
            low_logprob=low_quantile(self.logprobs),
            token_logprobs=None if self.others is None else tuple(tokens),
            prefill_s=self.timings.get("prompt_ms", self._read_ms()) / 1_000,
            decode_s=self._decode_s(),
        )

    def _read_ms(self) -> float:
        return self.progress.get("time_ms", 0.0)

    def _decode_s(self) -> float:
        if "predicted_ms" in self.timings:
            return self.timings["predicted_ms"] / 1_000
        return max(0.0, time.monotonic() - self.begun - self._read_ms() / 1_000)


class LlamaServer:
    """xllamacpp's server object: loaded, closed to the network, and with Forebay's errors.

    Attributes:
        decides: the model is a decision model: it takes `decide` alone.
        context_tokens: the context of one slot.

    Raises:
        Unavailable: xllamacpp is not installed, was built without llguidance, or cannot run a
            decision model.
        Misconfigured: llama.cpp cannot load the file, or finds no GPU for its layers.
    """

    def __init__(self, model: Path, settings: EngineSettings) -> None:
        try:
            import xllamacpp  # noqa: PLC0415 - 100 MB; only if this engine is used
        except ImportError:
            raise Unavailable("llama.cpp is not installed: `pip install xllamacpp`") from None
        if settings.gpu_layers and not _has_gpu(xllamacpp.get_device_info()):
            raise Misconfigured(
                "is set, and llama.cpp finds no GPU here: unset it, or install xllamacpp for it",
                field="FOREBAY_GPU_LAYERS",
            )
        params = xllamacpp.CommonParams()
        _configure(params, model, settings)
        self.decides = decision_type(model) is not None
        if self.decides:  # which reads a question in one pass
            params.n_batch = params.n_ubatch = settings.context_tokens
        # The server insists on listening. It gets a socket in a directory of ours, which is removed
        # before anybody could connect: requests come by function call only.
        directory = tempfile.mkdtemp(prefix="forebay-")
        params.hostnames = [str(Path(directory) / "closed.sock")]
        try:
            self._server = xllamacpp.Server(params)
        except RuntimeError:
            raise Misconfigured(
                "is a GGUF file that llama.cpp cannot load", field="FOREBAY_MODEL_FILE"
            ) from None
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        self.context_tokens = settings.context_tokens
        if self.decides:
            _require_decisions(self._server)
            return
        self.context_tokens = self._granted_context(settings.context_tokens)
        self._compiles = functools.lru_cache(maxsize=512)(self._probe)
        self._model = model
        self._continues = functools.lru_cache(maxsize=512)(self._probe_prefill)
        if not self._compiles(grammars.literal("a")) or self._compiles("/(a)\\1/"):
            raise Unavailable("this build of xllamacpp ignores constraints: install another build")

    def decide(self, body: dict[str, Any]) -> dict[str, Any]:
        """Have a decision model answer questions; return llama.cpp's reply. Blocks."""
        reply: dict[str, Any] = self._server.handle_systemone(body)
        return reply

    def chat(self, body: dict[str, Any], generation: LlamaGeneration) -> None:
        """Generate an answer. Blocks; `generation` takes the chunks.

        Raises:
            TooLong: The prompt is longer than the context.
            InvalidJob: The model's chat template refuses the messages.
        """
        refused = False
        try:
            self._server.handle_chat_completions(body | {"stream": True}, generation.take)
        except RuntimeError:  # before the first token; the error quotes the messages
            refused = True
        error = generation.error or {}
        kind = error.get("type")
        if kind == "exceed_context_size_error":
            turns = [Turn.model_validate(message) for message in body["messages"]]
            raise too_long(turns, int(error.get("n_prompt_tokens", 0)), self.context_tokens)
        if refused or kind == "invalid_request_error":
            raise InvalidJob("is refused by the model's chat template", field="messages")
        if generation.error is not None:
            raise RuntimeError("llama.cpp could not go on")

    def compiles(self, body: str) -> bool:
        """Return whether llama.cpp can enforce this grammar; it silently ignores any other."""
        return self._compiles(body)

    def continuing(self, body: str, begun: str) -> dict[str, Any]:
        """Return the fields of a chat whose answer continues what has begun under a grammar.

        llama.cpp lets a grammar of this type read the end of the prompt before the answer: what the
        template writes there, and the beginning.

        Raises:
            InvalidJob: The template writes the beginning's first character too, so that the grammar
                cannot tell them apart; or this build of llama.cpp does otherwise.
        """
        if not self._continues(begun[0]):
            words = (
                "must end with the user's: no grammar goes on from such a beginning on this model"
            )
            raise InvalidJob(words, field="messages")
        return self._reading(body, begun[0])

    def _reading(self, body: str, first: str) -> dict[str, Any]:
        grammar = grammars.after_head(body, first, special_ids(self._model))
        return {"grammar": grammar, "grammar_type": "tool_calls"}

    def _probe_prefill(self, first: str) -> bool:
        """Return whether llama.cpp obeys a grammar that read this character, as `_probe` does."""
        turns = [{"role": "user", "content": "A"}, {"role": "assistant", "content": first}]
        answer = self._server.handle_chat_completions(
            {
                "messages": turns,
                "max_tokens": 1,
                "temperature": 0,
                **self._reading(f'{grammars.literal(first)} "Z"', first),
                "logit_bias": [["#", 1_000.0]],
            }
        )
        message = answer.get("choices", [{}])[0].get("message", {})
        return str(message.get("content", "")).endswith("Z")

    def _probe(self, body: str) -> bool:
        """Return whether llama.cpp obeys a grammar that starts with a Q, against a bias for #."""
        if not trial.compiles_in_time(grammars.grammar(body)):
            return False
        answer = self._server.handle_completions(
            {
                "prompt": "A",
                "max_tokens": 1,
                "temperature": 0,
                "grammar": grammars.probe(body),
                "logit_bias": [["#", 1_000.0]],
            }
        )
        return str(answer.get("choices", [{}])[0].get("text", "")).startswith("Q")

    def _granted_context(self, tokens: int) -> int:
        """Return the context of one slot.

        llama.cpp may grant fewer tokens than asked; its refusal of a longer prompt tells how many.
        """
        refusal = self._server.handle_completions({"prompt": [1] * (tokens + 1), "max_tokens": 1})
        return int(refusal["error"]["n_ctx"])


def _require_decisions(server: Any) -> None:
    """Raise `Unavailable` if this build of llama.cpp does not run the model as a decision model."""
    ask = getattr(server, "handle_systemone", None)
    error = ask({}).get("error", {}) if ask else {"code": HTTPStatus.NOT_IMPLEMENTED}
    if error.get("code") == HTTPStatus.NOT_IMPLEMENTED:
        raise Unavailable("this build of xllamacpp runs no decision model: install a newer one")


def _has_gpu(devices: list[dict[str, Any]]) -> bool:
    """Return whether this build of llama.cpp runs on something else than the CPU here."""
    return any("GPU" in str(device["type"]) for device in devices)


def _configure(params: Any, model: Path, settings: EngineSettings) -> None:
    params.model.path = str(model)
    params.n_parallel = settings.slots
    params.n_ctx = settings.context_tokens * settings.slots
    params.n_batch = params.n_ubatch = _CHUNK_TOKENS
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.threads
    if settings.gpu_layers is not None:
        params.n_gpu_layers = settings.gpu_layers
    params.cache_ram_mib = _PREFIX_CACHE_MIB
    params.verbosity = _SILENT
    params.fit_params = params.ui = params.endpoint_slots = False
    # The text as it is, also if it looks like thoughts. llama.cpp's parser of pure content would do
    # the same, but it loses the assistant's last message, which the answer is to continue.
    params.reasoning_format = _NO_REASONING_FORMAT
    params.enable_reasoning = 0
