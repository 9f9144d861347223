"""llama.cpp in this process: the engine of machines without a GPU."""

from __future__ import annotations

import json
import math
import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from forebay.routing.errors import ForebayError, InvalidJob, Unavailable
from forebay.workers.engines.batching.embedding import SentenceEncoder
from forebay.workers.engines.batching.generator import Step
from forebay.workers.engines.batching.loop import BatchedEngine
from forebay.workers.engines.engine import (
    Choice,
    Completion,
    EngineInfo,
    JsonShape,
    Prompt,
    Vectors,
)
from forebay.workers.engines.llamacpp.gguf import gguf_file
from forebay.workers.engines.llamacpp.server import Generation, LlamaServer
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.engines.tokens import grammars
from forebay.workers.engines.weights.digests import revision

_ALL_BUT = 1 - 1e-6  # a longer option never takes everything from a shorter one
_TICK_S = 0.01  # how long a step waits for news, and so for a newcomer


@dataclass
class _Run:
    """A request in a slot."""

    prompt: Prompt
    cut: threading.Event = field(default_factory=threading.Event)


class LlamaGenerator:
    """llama.cpp batches by itself: a thread a slot feeds it, a step waits for news of any."""

    def __init__(self, server: LlamaServer, slots: int) -> None:
        self.slots = slots
        self._server = server
        self._runs: dict[str, _Run] = {}
        self._news: queue.SimpleQueue[tuple[str, Completion | Exception] | None]
        self._news = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(slots, "llama-slot")

    def fits(self, prompt: Prompt) -> bool:  # noqa: ARG002 - the contract's; slots are equal here
        """Always: every slot has its own context."""
        return True

    def admit(self, prompt: Prompt) -> None:
        """Hand it to a slot's thread; what is wrong with it comes out of a step."""
        run = self._runs[prompt.id] = _Run(prompt)
        self._threads.submit(self._work, run)

    def step(self) -> Step:
        """Wait for news, for a moment, and take all there is."""
        moved = False
        ended: dict[str, Completion | ForebayError] = {}
        try:
            news = self._news.get(timeout=_TICK_S)
            while True:
                moved = True
                if news is not None:
                    prompt_id, outcome = news
                    del self._runs[prompt_id]
                    if not isinstance(outcome, (Completion, ForebayError)):
                        raise outcome
                    ended[prompt_id] = outcome
                news = self._news.get_nowait()
        except queue.Empty:
            return Step(moved, ended)

    def drop(self, prompt_id: str) -> None:
        """Its thread ends the generation at the next chunk."""
        self._runs[prompt_id].cut.set()

    def close(self) -> None:
        """End all generations and free the model."""
        for run in self._runs.values():
            run.cut.set()
        self._threads.shutdown()
        del self._server

    # --- on the slots' threads ---

    def _work(self, run: _Run) -> None:
        outcome: Completion | Exception
        try:
            outcome = self._answer(run)
        except Exception as error:  # noqa: BLE001 - the loop decides what it means
            outcome = error
        self._news.put((run.prompt.id, outcome))

    def _answer(self, run: _Run) -> Completion:
        prompt, constraint = run.prompt, run.prompt.constraint
        if constraint is None:
            return self._generate(run, _body(prompt)).completion(prompt.id)
        body = grammars.body_of(constraint, prompt.max_tokens)
        if not self._server.compiles(body):
            name = grammars.field_of(constraint)
            raise InvalidJob("asks for something this engine cannot hold an answer to", field=name)
        if isinstance(constraint, Choice) and prompt.score_options:
            return self._score(run, constraint.options)
        completion = self._generate(run, _body(prompt, body)).completion(prompt.id)
        _refuse_broken(prompt, completion)
        return completion

    def _generate(self, run: _Run, body: dict[str, Any]) -> Generation:
        generation = Generation(run.cut.is_set, lambda: self._news.put(None))
        self._server.chat(body, generation)
        return generation

    def _score(self, run: _Run, options: tuple[str, ...]) -> Completion:
        """Force every option in turn, add up the log-probabilities of its tokens, take the best.

        One after the other in one slot, which from the second on has read the prompt already.
        """
        forced: dict[str, Completion] = {}
        sums: dict[str, float] = {}
        for option in options:
            limits = {"temperature": 0, "max_tokens": len(option.encode()) + 1, "stop": []}
            made = self._generate(run, _body(run.prompt, grammars.literal(option)) | limits)
            forced[option] = made.completion(run.prompt.id)
            if forced[option].finish == "cancelled":
                return forced[option]
            sums[option] = sum(made.logprobs)
        scores = option_logprobs(sums)
        best = max(scores, key=scores.__getitem__)
        return forced[best].model_copy(
            update={
                "option_logprobs": scores,
                "prefill_s": sum(one.prefill_s for one in forced.values()),
                "decode_s": sum(one.decode_s for one in forced.values()),
            }
        )


def _body(prompt: Prompt, grammar_body: str | None = None) -> dict[str, Any]:
    """The request as llama.cpp's chat endpoint takes it."""
    body: dict[str, Any] = {
        "messages": [turn.model_dump() for turn in prompt.messages],
        "max_tokens": prompt.max_tokens,
        "temperature": prompt.temperature,
        "top_p": prompt.top_p,
        "top_k": 0,  # ours are temperature and top_p; llama.cpp's further defaults are switched off
        "min_p": 0.0,
        "stop": list(prompt.stop),
        "logprobs": True,
        "top_logprobs": 1,
        "return_progress": True,  # a chunk for every batch of the prompt, so that it can be stopped
    }
    if prompt.seed is not None:
        body["seed"] = prompt.seed
    if grammar_body is not None:
        body["grammar"] = grammars.grammar(grammar_body)
    return body


def _refuse_broken(prompt: Prompt, completion: Completion) -> None:
    """A grammar that proves too large on the way is dropped by llama.cpp without a word."""
    if completion.finish != "stop" or prompt.constraint is None:
        return
    constraint = prompt.constraint
    if isinstance(constraint, Choice):
        held = completion.text in constraint.options
    else:
        held = not isinstance(constraint, JsonShape) or _is_json(completion.text)
    # A stop string may cut any constrained text short; then it is the caller's doing.
    if not held and not prompt.stop:
        name = grammars.field_of(constraint)
        raise InvalidJob("is more than this engine can hold an answer to", field=name)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def option_logprobs(sums: dict[str, float]) -> dict[str, float]:
    """From "the text begins with this option" to "it is this one of the options".

    An option that begins another one ("pay", "pay back") is left with what the longer one does not
    take; then all are scaled so that the probabilities add up to 1.
    """
    alone = {option: sums[option] + _left_by_longer(option, sums) for option in sums}
    top = max(alone.values())
    total = top + math.log(sum(math.exp(value - top) for value in alone.values()))
    return {option: value - total for option, value in alone.items()}


def _left_by_longer(option: str, sums: dict[str, float]) -> float:
    longer = [one for one in sums if one != option and one.startswith(option)]
    nearest = [
        one for one in longer if not any(one != mid and one.startswith(mid) for mid in longer)
    ]
    taken = sum(math.exp(min(0.0, sums[one] - sums[option])) for one in nearest)
    return math.log1p(-min(taken, _ALL_BUT))


class LlamaEngine(BatchedEngine):
    """A GGUF model on the CPU, and the packaged sentence encoder where it is installed.

    Raises:
        Unavailable: A package is missing.
        Misconfigured: The model file is missing, no GGUF, or cannot be loaded.
    """

    def __init__(self, settings: EngineSettings) -> None:
        model = gguf_file(settings.model_file)
        server = LlamaServer(model, settings)
        self._encoder: SentenceEncoder | None = None
        try:
            self._encoder = SentenceEncoder()
        except Unavailable as missing:
            self._no_encoder = missing.message
        self._info = EngineInfo(
            engine="llamacpp",
            model=model.stem,
            revision=revision(model),
            context_tokens=server.context_tokens,
            slots=settings.slots,
            embed_model=self._encoder and self._encoder.model,
            embed_revision=self._encoder and self._encoder.revision,
            embed_dimensions=self._encoder and self._encoder.dimensions,
            # The packaged model labels worse than its neighbour, the sentence encoder.
            classify="similarity" if self._encoder and settings.model_file is None else "model",
        )
        super().__init__(LlamaGenerator(server, settings.slots))

    def info(self) -> EngineInfo:
        """See `Engine.info`."""
        return self._info

    def embed(self, texts: list[str]) -> Vectors:
        """See `Engine.embed`."""
        if self._encoder is None:
            raise Unavailable(self._no_encoder)
        return self._encoder.encode(texts, self._count_step)
