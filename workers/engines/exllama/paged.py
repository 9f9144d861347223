"""The engine over a library with a paged cache: what is the same for exllamav2 and exllamav3."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from forebay.routing.errors import ForebayError, InvalidJob, TooLong, Unavailable
from forebay.workers.engines.batching.embedding import SentenceEncoder
from forebay.workers.engines.batching.generator import Step
from forebay.workers.engines.batching.loop import BatchedEngine
from forebay.workers.engines.engine import Choice, Completion, EngineInfo, Prompt, Vectors
from forebay.workers.engines.exllama.backend import Backend, BackendRequest
from forebay.workers.engines.exllama.runs import Run, ScoreRun, TextRun
from forebay.workers.engines.tokens import grammars
from forebay.workers.engines.tokens.chat_template import ChatTemplate
from forebay.workers.engines.tokens.masks import Masks
from forebay.workers.engines.tokens.option_trie import OptionTrie, Way
from forebay.workers.engines.tokens.tokenizer import Tokenizer
from forebay.workers.engines.vram.footprint import CHUNK, PAGE

_PREFILL = 2 * CHUNK  # tokens of prompts in one step: what runs stands still for so long


@dataclass(frozen=True)
class Language:
    """How a model's folder says that texts become tokens."""

    vocabulary: Tokenizer
    template: ChatTemplate
    masks: Masks


class PagedGenerator:
    """A `Generator`: admits by pages, slots and prompts to read; routes news to requests.

    `prepare` and `forget` may be called from any thread, all else by the loop's alone.

    Args:
        library: the loaded model.
        language: its tokens.
        context: tokens of a request, prompt and answer together.
    """

    def __init__(self, library: Backend, language: Language, context: int) -> None:
        self.slots = library.slots
        self.context = min(context, library.pages * PAGE - library.spare)
        self._library = library
        self._language = language
        # By identity: under the same id there may be another prompt, which will be refused.
        self._prepared: dict[int, Run] = {}
        self._runs: dict[str, Run] = {}
        self._unstarted: dict[str, int] = {}  # pages of orders which do not hold them yet
        self._reading: dict[str, int] = {}  # prompt tokens that one step reads of each
        self._over: dict[str, Completion | ForebayError] = {}  # told of by the next step

    # --- from any thread ---

    def prepare(self, prompt: Prompt) -> None:
        """See `Preparer.prepare`: tokens, and grammars compiled."""
        self._prepared[id(prompt)] = self._run(prompt)

    def forget(self, prompt: Prompt) -> None:
        """See `Preparer.forget`."""
        self._prepared.pop(id(prompt), None)

    # --- the contract ---

    def fits(self, prompt: Prompt) -> bool:
        """See `Generator.fits`; by the pages that it may need, shared or not."""
        try:
            order = self._ready(prompt).order
        except InvalidJob:
            return True  # `admit` says what is wrong
        free = self._library.free_pages() - sum(self._unstarted.values())
        reading = sum(self._reading.values()) + min(len(order.tokens), CHUNK)
        return order.pages(self._library.spare) <= free and reading <= _PREFILL

    def admit(self, prompt: Prompt) -> None:
        """See `Generator.admit`."""
        run = self._runs[prompt.id] = self._ready(prompt)
        self.forget(prompt)
        self._go_on(prompt.id, run.begin())

    def step(self) -> Step:
        """See `Generator.step`."""
        heard = self._library.iterate()
        for news in heard:
            self._unstarted.pop(news.id, None)
            if news.stage == "streaming":
                self._reading.pop(news.id, None)
            self._go_on(news.id, self._runs[news.id].take(news))
        ended, self._over = self._over, {}
        return Step(bool(heard or ended), ended)

    def drop(self, prompt_id: str) -> None:
        """See `Generator.drop`."""
        run = self._runs.get(prompt_id)
        if run is not None:
            self._library.cancel(prompt_id)
            self._unstarted.pop(prompt_id, None)
            self._reading.pop(prompt_id, None)
            self._go_on(prompt_id, run.cut())

    def close(self) -> None:
        """See `Generator.close`."""
        self._library.close()

    # --- inside ---

    def _go_on(
        self, prompt_id: str, outcome: BackendRequest | Completion | ForebayError | None
    ) -> None:
        """What a request wants next: an order started, or to end."""
        if isinstance(outcome, BackendRequest):
            self._unstarted[prompt_id] = outcome.pages(self._library.spare)
            self._reading[prompt_id] = min(len(outcome.tokens), CHUNK)
            self._library.start(outcome)
        elif outcome is not None:
            del self._runs[prompt_id]
            self._over[prompt_id] = outcome

    def _ready(self, prompt: Prompt) -> Run:
        if id(prompt) not in self._prepared:
            self.prepare(prompt)
        return self._prepared[id(prompt)]

    def _run(self, prompt: Prompt) -> Run:
        vocabulary = self._language.vocabulary
        turns = [
            turn.model_copy(update={"content": vocabulary.disarmed(turn.content)})
            for turn in prompt.messages
        ]
        text = self._language.template.render(turns)
        tokens = vocabulary.encode(text)
        if len(tokens) >= self.context:
            said = f"is longer than the context of {self.context} tokens"
            raise TooLong(said, field="messages")
        if isinstance(prompt.constraint, Choice) and prompt.score_options:
            return self._scored(prompt, text, tokens, prompt.constraint)
        constraint, matcher = prompt.constraint, None
        if constraint is not None:
            matcher = self._language.masks.matcher(constraint, prompt.max_tokens)
        order = BackendRequest(
            prompt.id,
            tokens,
            min(prompt.max_tokens, self.context - len(tokens)),
            ends=self._language.vocabulary.ends,
            stops=tuple(stop for stop in prompt.stop if stop),
            temperature=prompt.temperature,
            top_p=prompt.top_p,
            seed=prompt.seed,
            matcher=matcher,
        )
        return TextRun(prompt, order, self._language.vocabulary.decode)

    def _scored(self, prompt: Prompt, text: str, tokens: list[int], choice: Choice) -> Run:
        grammars.body_of(choice, prompt.max_tokens)  # refuses what is no choice
        ways = self._ways(text, choice.options)
        longest = max(len(path) for _, path in ways)
        if len(tokens) + longest >= self.context:
            said = f"and a label are longer than the context of {self.context} tokens"
            raise TooLong(said, field="messages")
        # The limit reserves pages for the longest place at which the model may be asked.
        order = BackendRequest(prompt.id, tokens, 1 + longest, ask=True)
        tree = OptionTrie(ways, self._language.vocabulary.ends)
        return ScoreRun(prompt, order, tree, {name: len(path) for name, path in ways})

    def _ways(self, text: str, options: Sequence[str]) -> list[Way]:
        """An option as it is and behind a space: models begin an answer in either way."""
        names = [(name, lead + name) for name in options for lead in (" ", "")]
        paths = self._language.vocabulary.continuations(text, [led for _, led in names])
        return [(name, tuple(path)) for (name, _), path in zip(names, paths, strict=True)]


class PagedEngine(BatchedEngine):
    """An engine over a loaded library.

    Args:
        info: what there is to say before the model is loaded.
        language: its tokens.
        encoder: for embeddings, where there is one.
        open_library: loads the model; called last, since it takes long.

    Attributes:
        library: what was loaded; the loop's own as long as there is work.
        language: as given.
    """

    def __init__(
        self,
        info: EngineInfo,
        language: Language,
        encoder: SentenceEncoder | None,
        open_library: Callable[[], Backend],
    ) -> None:
        self._encoder = encoder
        self.language = language
        self.library = open_library()
        self._paged = PagedGenerator(self.library, language, info.context_tokens)
        update: dict[str, Any] = {
            "context_tokens": self._paged.context,
            "slots": self._paged.slots,
        }
        if encoder is not None:
            update |= {
                "embed_model": encoder.model,
                "embed_revision": encoder.revision,
            }
        self._info = info.model_copy(update=update)
        super().__init__(self._paged, preparer=self._paged)

    def info(self) -> EngineInfo:
        """See `Engine.info`."""
        return self._info

    def embed(self, texts: list[str]) -> Vectors:
        """See `Engine.embed`."""
        if self._encoder is None:
            raise Unavailable("there is no embedding model beside this one")
        return self._encoder.encode(texts, self._count_step)
