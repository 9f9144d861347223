"""llama.cpp's own server, called in this process: the only file that imports xllamacpp.

Its parameters, answers and errors are turned into ours here. What is known of it: it ignores a
grammar that it cannot compile, it logs grammars and prompts, and it listens on a port; none of that
gets past this file.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forebay.routing.errors import InvalidJob, Misconfigured, TooLong, Unavailable
from forebay.workers.engines.engine import Completion, Finish, low
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.engines.tokens import grammars

_CHUNK = 256  # prompt tokens between two chances to cancel: a second or two on one core
_PREFIX_MIB = 256  # memory for prompts that slots have read; four times as fast where they recur
_SILENT = -1


@dataclass
class Generation:
    """One generation as it comes out of llama.cpp, chunk by chunk."""

    stopped: Callable[[], bool]
    moved: Callable[[], None]
    text: list[str] = field(default_factory=list, repr=False)
    logprobs: list[float] = field(default_factory=list)
    reason: str | None = None
    timings: dict[str, float] = field(default_factory=dict)
    read: dict[str, float] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)
    error: dict[str, Any] | None = field(default=None, repr=False)

    def take(self, chunk: dict[str, Any]) -> bool:
        """Called by llama.cpp for every chunk; True ends the generation."""
        self.moved()
        self.error = chunk.get("error", self.error)
        self.timings = chunk.get("timings", self.timings)
        self.read = chunk.get("prompt_progress", self.read)
        for choice in chunk.get("choices", ()):
            self.text.append(choice["delta"].get("content") or "")
            self.reason = choice["finish_reason"] or self.reason
            scored = (choice.get("logprobs") or {}).get("content") or ()
            self.logprobs += (token["logprob"] for token in scored)
        return self.stopped()

    def _decode_s(self) -> float:
        if "predicted_ms" in self.timings:
            return self.timings["predicted_ms"] / 1_000
        return max(0.0, time.monotonic() - self.begun - self.read.get("time_ms", 0.0) / 1_000)

    def completion(self, prompt_id: str) -> Completion:
        """What came, as a completion."""
        finishes: dict[str | None, Finish] = {"stop": "stop", "length": "length"}
        times = self.timings
        return Completion(
            id=prompt_id,
            text="".join(self.text),
            tokens_in=int(self.read.get("total", 0)),
            tokens_out=int(times.get("predicted_n", len(self.logprobs))),
            finish=finishes.get(self.reason, "cancelled"),
            mean_logprob=sum(self.logprobs) / len(self.logprobs) if self.logprobs else None,
            min_logprob=min(self.logprobs, default=None),
            low_logprob=low(self.logprobs),
            prefill_s=times.get("prompt_ms", self.read.get("time_ms", 0.0)) / 1_000,
            decode_s=self._decode_s(),
        )


class LlamaServer:
    """xllamacpp's server object: loaded, closed to the network, and with our errors.

    Raises:
        Unavailable: xllamacpp is not installed, or was built without llguidance.
        Misconfigured: llama.cpp cannot load the file.
    """

    def __init__(self, model: Path, settings: EngineSettings) -> None:
        try:
            import xllamacpp  # noqa: PLC0415 - 100 MB; only where this engine is used
        except ImportError:
            raise Unavailable("llama.cpp is not installed: `pip install xllamacpp`") from None
        params = xllamacpp.CommonParams()
        _configure(params, model, settings)
        # The server insists on listening. It gets a socket in a directory of ours that is gone
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
        self.context_tokens = self._context(settings.context_tokens)
        self._compiles = functools.lru_cache(maxsize=512)(self._probe)
        if not self._compiles(grammars.literal("a")) or self._compiles("/(a)\\1/"):
            raise Unavailable("this build of xllamacpp cannot hold constraints: install another")

    def chat(self, body: dict[str, Any], generation: Generation) -> None:
        """Generate, blocking.

        Raises:
            TooLong: The prompt is longer than the context.
            InvalidJob: The model's chat template refuses the messages.
        """
        refused = False
        try:
            self._server.handle_chat_completions(body | {"stream": True}, generation.take)
        except RuntimeError:  # before anything was generated; it quotes the messages
            refused = True
        kind = (generation.error or {}).get("type")
        if kind == "exceed_context_size_error":
            limit = self.context_tokens
            raise TooLong(f"is longer than the context of {limit} tokens", field="messages")
        if refused or kind == "invalid_request_error":
            raise InvalidJob("is refused by the model's chat template", field="messages")
        if generation.error is not None:
            raise RuntimeError("llama.cpp could not go on")

    def compiles(self, body: str) -> bool:
        """Whether llama.cpp can hold this grammar; otherwise it would ignore it without a word."""
        return self._compiles(body)

    def _probe(self, body: str) -> bool:
        """One token from a grammar that must begin with a Q, while all else says a #."""
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

    def _context(self, asked: int) -> int:
        """The context of one slot: llama.cpp may grant less than asked, and says so in refusals."""
        refused = self._server.handle_completions({"prompt": [1] * (asked + 1), "max_tokens": 1})
        return int(refused["error"]["n_ctx"])


def _configure(params: Any, model: Path, settings: EngineSettings) -> None:
    params.model.path = str(model)
    params.n_parallel = settings.slots
    params.n_ctx = settings.context_tokens * settings.slots
    params.n_batch = params.n_ubatch = _CHUNK
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.threads
    params.cache_ram_mib = _PREFIX_MIB
    params.verbosity = _SILENT
    params.fit_params = params.ui = params.endpoint_slots = False
    params.force_pure_content_parser = True  # the text as it is, not what looks like a tool call
    params.enable_reasoning = 0
