"""Answers a job whose text is longer than the engine's context, in parts on the engine."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from forebay.routing.errors import BadAnswer, Expired, Lost, TooLong
from forebay.routing.jobs import Job, Summarize, Summary
from forebay.routing.policy.policy_file import PolicyFile
from forebay.workers.cascade.answerer import Answerer
from forebay.workers.cascade.stages import PendingAnswer, RawAnswer
from forebay.workers.engines.engine import EngineInfo
from forebay.workers.long_texts.condensing import Condenser, LongRequest
from forebay.workers.runtime.attempt import Attempt

MAX_PARTS_AT_ONCE = 4  # and at most half of the engine's batch, so that other jobs keep slots
CHARS_PER_TOKEN = 3  # few, so that a part fits the context; if it does not, parts are halved
PROMPT_TOKENS = 200  # of a part's prompt without its text
MAX_WORDS = 150  # of the summary of a part


class LongTexts:
    """Answers long texts on the engine of one local worker."""

    def __init__(self, answerer: Answerer, policy: PolicyFile) -> None:
        self._answerer = answerer
        self._policy = policy
        self._lock = threading.Lock()
        self._runs: dict[str, _Run] = {}

    def answer(self, attempt: Attempt, prompt_id: str, error: TooLong) -> RawAnswer:
        """Return the answer to a job whose prompt is too long, as `error` says.

        Raises:
            TooLong: The job's kind is not answered in parts, or the policy allows too few parts.
            BadAnswer: The summary of a part cannot be read.
            Lost: The job no longer belongs to this claim.
            Expired: The job's deadline passed.
        """
        job = attempt.job
        max_parts = self._policy.current().tenant(job.tenant).max_parts
        request = job.request
        if not isinstance(request, LongRequest) or not max_parts:
            raise error
        run = _Run(self._answerer, job, prompt_id)
        condenser = Condenser(job, error, run.summaries, max_parts=max_parts, max_words=MAX_WORDS)
        with self._running(prompt_id, run):
            text = condenser.condensed(request.text, _room(self._answerer.info))
            [raw] = run.ask([request.model_copy(update={"text": text})])
        return raw._replace(
            tokens_in=run.tokens_in, tokens_out=run.tokens_out, parts=condenser.parts
        )

    def cancel(self, prompt_id: str) -> None:
        """Cancel what runs for a job whose claim was lost. Unknown ids are ignored."""
        with self._lock:
            run = self._runs.get(prompt_id)
        if run is not None:
            run.cancel()

    @contextmanager
    def _running(self, prompt_id: str, run: _Run) -> Iterator[None]:
        with self._lock:
            self._runs[prompt_id] = run
        try:
            yield
        finally:
            with self._lock:
                del self._runs[prompt_id]


class _Run:
    """The prompts of one job while it is answered in parts.

    Attributes:
        tokens_in, tokens_out: of all prompts so far.
    """

    def __init__(self, answerer: Answerer, job: Job, prompt_id: str) -> None:
        self.tokens_in = self.tokens_out = 0
        self._answerer = answerer
        self._job = job
        self._prompt_id = prompt_id
        self._asked = 0
        self._at_once = max(1, min(MAX_PARTS_AT_ONCE, answerer.info.slots // 2))
        self._under_way: deque[tuple[str, PendingAnswer]] = deque()
        self._lost = threading.Event()

    def summaries(self, requests: Sequence[Summarize], _room: int) -> list[str]:
        """Return the summaries of parts, in order."""
        return [_summary(raw) for raw in self.ask(requests)]

    def ask(self, requests: Sequence[LongRequest]) -> list[RawAnswer]:
        """Put requests to the engine, a few at once, and return the answers in order."""
        answers: list[RawAnswer] = []
        try:
            for request in requests:
                if len(self._under_way) == self._at_once:
                    answers.append(self._next())
                self._begin(request)
            while self._under_way:
                answers.append(self._next())
        finally:
            self._cancel_all()
        return answers

    def cancel(self) -> None:
        """End this run from another thread."""
        self._lost.set()
        for prompt_id, _ in list(self._under_way):
            self._answerer.cancel(prompt_id)

    def _begin(self, request: LongRequest) -> None:
        if self._lost.is_set():
            raise Lost
        if self._job.deadline is not None and datetime.now(UTC) >= self._job.deadline:
            raise Expired("the deadline passed while the job was worked")
        self._asked += 1
        prompt_id = f"{self._prompt_id}/part-{self._asked}"
        part = self._job.model_copy(update={"request": request})
        self._under_way.append((prompt_id, self._answerer.begin(part, prompt_id)))

    def _next(self) -> RawAnswer:
        """Wait for the answer that was begun first."""
        raw = self._under_way[0][1]()
        self._under_way.popleft()
        self.tokens_in += raw.tokens_in
        self.tokens_out += raw.tokens_out
        return raw

    def _cancel_all(self) -> None:
        while self._under_way:
            self._answerer.cancel(self._under_way.popleft()[0])


def _room(info: EngineInfo) -> int:
    """Return how many characters of text a prompt has room for, as far as is known."""
    return (info.context_tokens - PROMPT_TOKENS - 2 * MAX_WORDS) * CHARS_PER_TOKEN


def _summary(raw: RawAnswer) -> str:
    if not isinstance(raw.content, Summary):
        raise BadAnswer("the text is answered in parts, and the summary of one cannot be read")
    return raw.content.text
