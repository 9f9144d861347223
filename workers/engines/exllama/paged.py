"""The engine over a library with a paged cache: what exllamav2 and exllamav3 have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from forebay.routing.errors import ForebayError, InvalidJob, Unavailable
from forebay.workers.engines.batching.embedding import SentenceEncoder
from forebay.workers.engines.batching.generator import Step
from forebay.workers.engines.batching.loop import BatchedEngine
from forebay.workers.engines.engine import (
    CachePages,
    Choice,
    Completion,
    EngineInfo,
    Prompt,
    Vectors,
    too_long,
)
from forebay.workers.engines.exllama.backend import Backend, BackendRequest
from forebay.workers.engines.exllama.runs import Run, ScoreRun, TextRun
from forebay.workers.engines.tokens import grammars
from forebay.workers.engines.tokens.chat_template import ChatTemplate
from forebay.workers.engines.tokens.masks import Masks
from forebay.workers.engines.tokens.option_trie import OptionTrie, Way
from forebay.workers.engines.tokens.tokenizer import Tokenizer
from forebay.workers.engines.vram.footprint import CHUNK, PAGE

_MAX_PREFILL_TOKENS = 2 * CHUNK  # of prompts, in one step: running requests wait that long


@dataclass(frozen=True)
class Language:
    """The way from texts to tokens, as a model's folder defines it."""

    vocabulary: Tokenizer
    template: ChatTemplate
    masks: Masks


class PagedGenerator:
    """A `Generator` that admits prompts by pages and slots, and routes progress to their runs.

    Any thread may call `prepare` and `forget`; only the loop's thread calls the rest.

    Args:
        backend: the loaded model.
        language: its tokens.
        context: tokens of a request, prompt and answer together.
    """

    def __init__(self, backend: Backend, language: Language, context: int) -> None:
        self.slots = self.branches_at_once = backend.slots  # requests share pages they have read
        self.context = min(context, backend.pages * PAGE - backend.spare)
        self._backend = backend
        self._language = language
        # By identity: another prompt may have the same id, and is refused later.
        self._prepared: dict[int, Run] = {}
        self._runs: dict[str, Run] = {}
        self._unstarted_pages: dict[str, int] = {}  # of requests that do not hold theirs yet
        self._prefill_tokens: dict[str, int] = {}  # that one step reads of each prompt
        self._ended: dict[str, Completion | ForebayError] = {}  # returned by the next step

    # --- from any thread ---

    def prepare(self, prompt: Prompt) -> None:
        """See `Preparer.prepare`: tokenize the prompt and compile its grammar."""
        self._prepared[id(prompt)] = self._make_run(prompt)

    def forget(self, prompt: Prompt) -> None:
        """See `Preparer.forget`."""
        self._prepared.pop(id(prompt), None)

    # --- the contract ---

    def fits(self, prompt: Prompt) -> bool:
        """See `Generator.fits`; counts all pages that the prompt may need, shared or not."""
        try:
            request = self._run_of(prompt).request
        except InvalidJob:
            return True  # `admit` raises it
        free = self._backend.free_pages() - sum(self._unstarted_pages.values())
        prefill = sum(self._prefill_tokens.values()) + min(len(request.tokens), CHUNK)
        return request.pages(self._backend.spare) <= free and prefill <= _MAX_PREFILL_TOKENS

    def admit(self, prompt: Prompt) -> None:
        """See `Generator.admit`."""
        run = self._runs[prompt.id] = self._run_of(prompt)
        self.forget(prompt)
        self._continue(prompt.id, run.start())

    def step(self) -> Step:
        """See `Generator.step`."""
        progresses = self._backend.iterate()
        texts: dict[str, str] = {}
        for progress in progresses:
            self._unstarted_pages.pop(progress.id, None)
            if progress.stage == "streaming":
                self._prefill_tokens.pop(progress.id, None)
            run = self._runs[progress.id]
            if run.prompt.stream and progress.finish is None:
                texts[progress.id] = texts.get(progress.id, "") + progress.text
            self._continue(progress.id, run.advance(progress))
        ended, self._ended = self._ended, {}
        return Step(bool(progresses or ended), ended, texts)

    def drop(self, prompt_id: str) -> None:
        """See `Generator.drop`."""
        run = self._runs.get(prompt_id)
        if run is not None:
            self._backend.cancel(prompt_id)
            self._unstarted_pages.pop(prompt_id, None)
            self._prefill_tokens.pop(prompt_id, None)
            self._continue(prompt_id, run.cut_short())

    def close(self) -> None:
        """See `Generator.close`."""
        self._backend.close()

    # --- inside ---

    def _continue(
        self, prompt_id: str, action: BackendRequest | Completion | ForebayError | None
    ) -> None:
        """Do what a run returned: start its next request, or end it."""
        if isinstance(action, BackendRequest):
            self._unstarted_pages[prompt_id] = action.pages(self._backend.spare)
            self._prefill_tokens[prompt_id] = min(len(action.tokens), CHUNK)
            self._backend.start(action)
        elif action is not None:
            del self._runs[prompt_id]
            self._ended[prompt_id] = action

    def _run_of(self, prompt: Prompt) -> Run:
        if id(prompt) not in self._prepared:
            self.prepare(prompt)
        return self._prepared[id(prompt)]

    def _make_run(self, prompt: Prompt) -> Run:
        vocabulary = self._language.vocabulary
        turns = [
            turn.model_copy(update={"content": vocabulary.special_tokens.disarmed(turn.content)})
            for turn in prompt.messages
        ]
        text = self._language.template.render(turns)
        tokens = vocabulary.encode(text)
        if len(tokens) >= self.context:
            raise too_long(prompt.messages, len(tokens), self.context)
        if isinstance(prompt.constraint, Choice) and prompt.score_options:
            return self._score_run(prompt, text, tokens, prompt.constraint)
        return self._text_run(prompt, tokens)

    def _text_run(self, prompt: Prompt, tokens: list[int]) -> Run:
        matcher = None
        if prompt.constraint is not None:
            matcher = self._language.masks.matcher(
                prompt.constraint,
                prompt.max_tokens,
                best_effort=prompt.best_effort,
                prefill=prompt.prefill,
            )
        request = BackendRequest(
            prompt.id,
            tokens,
            min(prompt.max_tokens, self.context - len(tokens)),
            stop_tokens=self._language.vocabulary.ends,
            stop_strings=tuple(stop for stop in prompt.stop if stop),
            temperature=prompt.temperature,
            top_p=prompt.top_p,
            seed=prompt.seed,
            matcher=matcher,
        )
        vocabulary = self._language.vocabulary
        return TextRun(prompt, request, vocabulary.decode, vocabulary.special_tokens.restored)

    def _score_run(self, prompt: Prompt, text: str, tokens: list[int], choice: Choice) -> Run:
        grammars.body_of(choice, prompt.max_tokens)  # raises if the options are no choice
        ways = self._ways(text, choice.options)
        longest = max(len(path) for _, path in ways)
        if len(tokens) + longest >= self.context:
            raise too_long(prompt.messages, len(tokens) + longest, self.context)
        # The limit reserves pages for the longest prefix of an option that may follow the prompt.
        request = BackendRequest(prompt.id, tokens, 1 + longest, first_token_only=True)
        tree = OptionTrie(ways, self._language.vocabulary.ends)
        return ScoreRun(prompt, request, tree, {name: len(path) for name, path in ways})

    def _ways(self, text: str, options: Sequence[str]) -> list[Way]:
        """Return the tokens of each option, as it is and after a space: models begin either way."""
        vocabulary = self._language.vocabulary
        plain = {name: vocabulary.special_tokens.disarmed(name) for name in options}
        spelled = [(name, lead + plain[name]) for name in options for lead in (" ", "")]
        paths = vocabulary.continuations(text, [words for _, words in spelled])
        return [(name, tuple(path)) for (name, _), path in zip(spelled, paths, strict=True)]


class PagedEngine(BatchedEngine):
    """An engine over a loaded backend.

    Args:
        info: what is known before the model is loaded.
        language: the model's tokens.
        encoder: for embeddings, if one is installed.
        open_backend: loads the model; called last, since it takes long.
        reserved: share of the slots that is kept for interactive requests.

    Attributes:
        backend: the loaded model; the loop owns it as long as there is work.
        language: as given.
    """

    def __init__(
        self,
        info: EngineInfo,
        language: Language,
        encoder: SentenceEncoder | None,
        open_backend: Callable[[], Backend],
        reserved: float = 0.0,
    ) -> None:
        self._encoder = encoder
        self.language = language
        self.backend = open_backend()
        self._paged = PagedGenerator(self.backend, language, info.context_tokens)
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
        super().__init__(self._paged, preparer=self._paged, reserved=reserved)

    def describe(self, **fields: Any) -> None:
        """Add to `info` what is known only once the model is loaded."""
        self._info = self._info.model_copy(update=fields)

    def info(self) -> EngineInfo:
        """See `Engine.info`."""
        return self._info

    def pages(self) -> CachePages:
        """See `Engine.pages`."""
        total = self.backend.pages
        return CachePages(used=total - self.backend.free_pages(), total=total)

    def embed(self, texts: list[str]) -> Vectors:
        """See `Engine.embed`."""
        if self._encoder is None:
            raise Unavailable("there is no embedding model beside this one")
        return self._encoder.encode(texts, self._count_step)
