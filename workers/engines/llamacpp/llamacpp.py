"""The llama.cpp engine: a GGUF model on the CPU."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from forebay.routing.errors import Unavailable
from forebay.workers.engines.batching.embedding import SentenceEncoder
from forebay.workers.engines.batching.event_queue import EventQueue
from forebay.workers.engines.batching.generator import Step, TextPart
from forebay.workers.engines.batching.loop import BatchedEngine
from forebay.workers.engines.engine import (
    Choice,
    Completion,
    EngineInfo,
    JsonSchema,
    Prompt,
    Vectors,
)
from forebay.workers.engines.llamacpp import decisions
from forebay.workers.engines.llamacpp.gguf import gguf_file, special_tokens
from forebay.workers.engines.llamacpp.server import LlamaGeneration, LlamaServer
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.engines.stop_strings import StopStrings
from forebay.workers.engines.tokens import grammars
from forebay.workers.engines.tokens.special_tokens import SpecialTokens
from forebay.workers.engines.weights.digests import revision

_MAX_SHARE_OF_LONGER = 1 - 1e-6  # longer options never take everything from a shorter one


@dataclass
class _Run:
    """A request in a slot, and the event that cuts it short."""

    prompt: Prompt
    cut: threading.Event = field(default_factory=threading.Event)


class LlamaGenerator:
    """A `Generator` over llama.cpp, which batches requests by itself.

    One thread for each slot feeds llama.cpp. The threads put events into a queue, from which a step
    reads: a prompt's id with the text of a chunk, or with its completion or error.
    """

    def __init__(self, server: LlamaServer, slots: int, special_tokens: SpecialTokens) -> None:
        self.slots = slots
        self.branches_at_once = 1  # one after the other, in the slot that has read the prompt
        self._special_tokens = special_tokens
        self._server = server
        self._runs: dict[str, _Run] = {}
        self._events = EventQueue()
        self._threads = ThreadPoolExecutor(slots, "llama-slot")

    def fits(self, prompt: Prompt) -> bool:  # noqa: ARG002 - the contract's; slots are equal here
        """See `Generator.fits`: every slot has its own context."""
        return True

    def admit(self, prompt: Prompt) -> None:
        """Hand the prompt to a slot's thread; if the prompt is wrong, a step returns the error."""
        turns = tuple(
            turn.model_copy(update={"content": self._special_tokens.disarmed(turn.content)})
            for turn in prompt.messages
        )
        run = self._runs[prompt.id] = _Run(prompt.model_copy(update={"messages": turns}))
        self._threads.submit(self._run, run)

    def step(self) -> Step:
        """Wait a moment for an event, and take all events that there are."""
        step = self._events.step()
        for prompt_id in step.ended:
            del self._runs[prompt_id]
        return step

    def drop(self, prompt_id: str) -> None:
        """See `Generator.drop`: the slot's thread ends the generation at the next chunk."""
        self._runs[prompt_id].cut.set()

    def close(self) -> None:
        """End all generations and free the model."""
        for run in self._runs.values():
            run.cut.set()
        self._threads.shutdown()
        del self._server

    # --- on the slots' threads ---

    def _run(self, run: _Run) -> None:
        answer: Completion | Exception
        try:
            answer = self._answer(run)
            text = self._special_tokens.restored(answer.text)
            answer = answer.model_copy(update={"text": text})
        except Exception as error:  # noqa: BLE001 - the loop decides what it means
            answer = error
        self._events.put(run.prompt.id, answer)

    def _answer(self, run: _Run) -> Completion:
        prompt, constraint = run.prompt, run.prompt.constraint
        if self._server.decides:
            return self._decide(prompt)
        if constraint is None:
            return self._generate(run, _request_body(prompt), prompt.stop).completion(prompt.id)
        refusal = None
        bodies = grammars.bodies_of(
            constraint, prompt.max_tokens, best_effort=prompt.best_effort, prefill=prompt.prefill
        )
        for grammar_body in filter(self._server.compiles, bodies):
            if isinstance(constraint, Choice) and prompt.score_options:
                return self._score(run, constraint.options)
            body = _request_body(prompt, grammar_body)
            if begun := grammars.begun(constraint, prompt.prefill or ""):
                body |= self._server.continuing(grammar_body, begun)
            completion = self._generate(run, body, prompt.stop).completion(prompt.id)
            if _is_constrained(prompt, completion):
                return completion
            refusal = grammars.too_large(constraint)
        raise refusal or grammars.refusal(constraint, best_effort=prompt.best_effort)

    def _decide(self, prompt: Prompt) -> Completion:
        """Have a decision model score the options in one pass."""
        disarmed = self._special_tokens.disarmed
        options = {disarmed(option): option for option in decisions.options_of(prompt)}
        begun = time.monotonic()
        reply = self._server.decide(decisions.question(prompt.messages, tuple(options)))
        took_s = time.monotonic() - begun
        return decisions.answered(prompt, options, reply, self._server.context_tokens, took_s)

    def _generate(
        self, run: _Run, body: dict[str, Any], stops: Sequence[str] = ()
    ) -> LlamaGeneration:
        # Only a free text streams: a constrained one may be generated anew with a looser grammar.
        streams = run.prompt.stream and run.prompt.constraint is None
        prompt_id, put = run.prompt.id, self._events.put
        generation = LlamaGeneration(
            run.cut.is_set,
            lambda *part: put(prompt_id, TextPart(*part) if streams else TextPart("")),
            StopStrings(stops),
            others=run.prompt.logprobs,
        )
        self._server.chat(body, generation)
        return generation

    def _score(self, run: _Run, options: tuple[str, ...]) -> Completion:
        """Force each option, sum the log-probabilities of its tokens, and return the best option.

        The options run one after the other in one slot, which reads the prompt only once.
        """
        forced: dict[str, Completion] = {}
        sums: dict[str, float] = {}
        for option in options:
            limits = {"temperature": 0, "max_tokens": len(option.encode()) + 1}
            body = _request_body(run.prompt, grammars.literal(option)) | limits
            generation = self._generate(run, body)
            forced[option] = generation.completion(run.prompt.id)
            if forced[option].finish == "cancelled":
                return forced[option]
            sums[option] = sum(generation.logprobs)
        scores = option_logprobs(sums)
        best = max(scores, key=scores.__getitem__)
        return forced[best].model_copy(
            update={
                "option_logprobs": scores,
                "prefill_s": sum(completion.prefill_s for completion in forced.values()),
                "decode_s": sum(completion.decode_s for completion in forced.values()),
            }
        )


def _request_body(prompt: Prompt, grammar_body: str | None = None) -> dict[str, Any]:
    """Return the request as llama.cpp's chat endpoint takes it."""
    body: dict[str, Any] = {
        "messages": [turn.model_dump() for turn in prompt.messages],
        "max_tokens": prompt.max_tokens,
        "temperature": prompt.temperature,
        "top_p": prompt.top_p,
        "top_k": 0,  # jobs set temperature and top_p; llama.cpp's other samplers are switched off
        "min_p": 0.0,
        "logprobs": True,
        "top_logprobs": max(1, prompt.logprobs or 0),
        "timings_per_token": bool(prompt.stop),  # a stop string ends it without a last chunk
        "return_progress": True,  # a chunk for every batch of the prompt, so that it can be stopped
    }
    if prompt.seed is not None:
        body["seed"] = prompt.seed
    if grammar_body is not None:
        body["grammar"] = grammars.grammar(grammar_body)
    return body


def _is_constrained(prompt: Prompt, completion: Completion) -> bool:
    """Return whether the answer keeps to the constraint, as far as can be told.

    llama.cpp silently drops a grammar that outgrows its limits during the generation. A stop string
    may cut any constrained text short; then the caller asked for it.
    """
    constraint = prompt.constraint
    if completion.finish != "stop" or prompt.stop:
        return True
    if isinstance(constraint, Choice):
        return completion.text in constraint.options
    whole = (prompt.prefill or "") + completion.text
    return not isinstance(constraint, JsonSchema) or _is_json(whole)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def option_logprobs(sums: dict[str, float]) -> dict[str, float]:
    """Turn "the text begins with this option" into "the text is this one of the options".

    An option that begins a longer one ("pay", "pay back") keeps what the longer one does not take.
    Then all probabilities are scaled to add up to 1.

    Args:
        sums: by option, the sum of its tokens' natural-log probabilities.
    """
    alone = {option: sums[option] + _log_share_left(option, sums) for option in sums}
    top = max(alone.values())
    total = top + math.log(sum(math.exp(value - top) for value in alone.values()))
    return {option: value - total for option, value in alone.items()}


def _log_share_left(option: str, sums: dict[str, float]) -> float:
    """Return the logarithm of the share that longer options leave to this one."""
    longer = [other for other in sums if other != option and other.startswith(option)]
    nearest = [
        other for other in longer
        if not any(other != between and other.startswith(between) for between in longer)
    ]  # fmt: skip
    taken = sum(math.exp(min(0.0, sums[other] - sums[option])) for other in nearest)
    return math.log1p(-min(taken, _MAX_SHARE_OF_LONGER))


class LlamaEngine(BatchedEngine):
    """A GGUF model on the CPU, and the packaged sentence encoder if it is installed.

    Raises:
        Unavailable: A package is missing.
        Misconfigured: The model file is missing, is not a GGUF file, or cannot be loaded.
    """

    def __init__(self, settings: EngineSettings) -> None:
        model = gguf_file(settings.model_file)
        server = LlamaServer(model, settings)
        self._encoder: SentenceEncoder | None = None
        self._no_encoder = "a decision model makes no embeddings"
        try:
            self._encoder = None if server.decides else SentenceEncoder()
        except Unavailable as error:
            self._no_encoder = error.message
        self._info = EngineInfo(
            engine="llamacpp",
            model=model.stem,
            revision=revision(model),
            context_tokens=server.context_tokens,
            slots=settings.slots,
            embed_model=self._encoder and self._encoder.model,
            embed_revision=self._encoder and self._encoder.revision,
            logprobs=not server.decides,
            # The packaged small model labels worse than the sentence encoder.
            classify="similarity" if self._encoder and settings.model_file is None else "model",
        )
        special = SpecialTokens(special_tokens(model))
        generator = LlamaGenerator(server, settings.slots, special)
        super().__init__(generator, reserved=settings.reserved)

    def info(self) -> EngineInfo:
        """See `Engine.info`."""
        return self._info

    def embed(self, texts: list[str]) -> Vectors:
        """See `Engine.embed`."""
        if self._encoder is None:
            raise Unavailable(self._no_encoder)
        return self._encoder.encode(texts, self._count_step)
