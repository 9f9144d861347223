"""Answers a job whose text is longer than a frontier model's context, in several calls.

The money of all calls is reserved before the first one, and passed on from each call to the next.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from forebay.routing.errors import BadAnswer, Expired, PassingError, TooLong
from forebay.routing.jobs import Job, Summarize, Summary
from forebay.routing.limits.prices import Prices
from forebay.routing.policy.policy_file import Policy
from forebay.routing.reasons import Reason
from forebay.routing.store.backoff import jittered
from forebay.workers.frontier.calling.call import Call, SubBudget
from forebay.workers.frontier.calling.calls import Calls
from forebay.workers.frontier.calling.no_answer import NoAnswer
from forebay.workers.frontier.calling.planner import Bound
from forebay.workers.frontier.provider import Reply
from forebay.workers.isolation import pool
from forebay.workers.long_texts.condensing import (
    MAX_LEVELS,
    SEPARATOR,
    Condenser,
    LongRequest,
)
from forebay.workers.long_texts.cutting import cut
from forebay.workers.prompts import bounded, prompts
from forebay.workers.runtime.attempt import Attempt

MAX_WORDS = 600  # of the summary of a part
MAX_SUMMARY_CHARS = 16 * MAX_WORDS  # of a model that writes more words than it may
BYTES_PER_TOKEN = 3  # few, so that a part fits the context; if it does not, it is cut again
#: How long a job whose parts are half done waits for a model that is busy. Putting the job back
#: would lose the parts that are paid for.
PATIENCE_S = 120.0
PAUSE_S = 2.0

_WIDEST = "\U0001f30a"  # a character of four bytes, the most that a character has


def can_be_cut(job: Job, policy: Policy) -> bool:
    """Return whether a job may be answered in parts: its kind allows it, and so does the policy."""
    return isinstance(job.request, LongRequest) and policy.tenant(job.tenant).max_parts > 0


class LongTexts:
    """Answers long texts by the calls of one worker."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def ask(
        self, attempt: Attempt, policy: Policy, model: str, error: TooLong
    ) -> tuple[int, list[tuple[Call, Reply]]]:
        """Return the number of parts, and all calls with their replies; the last is not booked.

        Raises:
            NoAnswer: There is no answer in parts; what was called is booked.
            Lost: The job no longer belongs to this claim.
            Expired: The job's deadline passed.
        """
        request, job = attempt.job.request, attempt.job
        assert isinstance(request, LongRequest)
        run = _Run(self._calls, attempt, policy, model)
        max_parts = policy.tenant(job.tenant).max_parts
        condenser = Condenser(job, error, run.summaries, max_parts=max_parts, max_words=MAX_WORDS)
        try:
            text = condenser.condensed(request.text, run.room(request.text))
            run.ask(request.model_copy(update={"text": text}), ahead_nusd=0)
        except TooLong as still:
            raise NoAnswer(still, Reason.BEDROCK_FAILED) from None
        finally:
            if not run.is_whole:
                run.book_last()
        return condenser.parts, run.made


class _Run:
    """The calls of one job while one model answers it in parts.

    Attributes:
        made: the calls that were made, with their replies. Only the last is not booked yet.
        is_whole: the last reply is the answer to the job itself.
    """

    def __init__(self, calls: Calls, attempt: Attempt, policy: Policy, model: str) -> None:
        self.made: list[tuple[Call, Reply]] = []
        self.is_whole = False
        self._calls = calls
        self._attempt = attempt
        self._policy = policy
        self._model = model
        self._spent_nusd = 0
        self._booked = 0
        self._give_up_at = time.monotonic() + PATIENCE_S

    def room(self, text: str) -> int:
        """Return how many characters of the text a prompt has room for, as far as is known."""
        bound = self._bound(Summarize(text=".", max_words=MAX_WORDS))
        context = _context(bound)
        if context is None:
            return len(text) // 2
        bytes_a_char = len(text.encode("utf-8", "surrogatepass")) / len(text)
        tokens = context - bound.tokens_in - bound.tokens_out
        return min(int(tokens * BYTES_PER_TOKEN / bytes_a_char), len(text) // 2)

    def summaries(self, requests: Sequence[Summarize], room: int) -> list[str]:
        """Return the summaries of parts, in order."""
        later_nusd = self._later_nusd(len(requests), room)
        costs = [self._bound(request).nusd for request in requests]
        return [
            self._summary(request, sum(costs[number:]) + later_nusd)
            for number, request in enumerate(requests, 1)
        ]

    def ask(self, request: LongRequest, *, ahead_nusd: int) -> Reply:
        """Make one call for the job.

        Raises:
            TooLong: The text does not fit the model's context.
            NoAnswer: There is no reply.
            Expired: The job's deadline passed.
        """
        while True:
            deadline = self._attempt.job.deadline
            if deadline is not None and datetime.now(UTC) >= deadline:
                raise Expired("the deadline passed while the job was worked")
            try:
                return self._call(request, ahead_nusd)
            except NoAnswer as refusal:
                if isinstance(refusal.error, TooLong):
                    raise refusal.error from None
                if not self._waits_for(refusal):
                    raise

    def book_last(self) -> None:
        """Settle the last call, if it is open."""
        if self._booked < len(self.made):
            call, reply = self.made[-1]
            self._calls.book(call, self._calls.cost(call, reply))
            self._booked = len(self.made)

    def _call(self, request: LongRequest, ahead_nusd: int) -> Reply:
        attempt, policy = self._attempt, self._policy
        job, whole = attempt.job, not isinstance(request, Summarize) or not ahead_nusd
        part = job.model_copy(update={"request": request})
        call = self._calls.plan(
            job, self._model, policy,
            lambda name: prompts.frontier(part, prompt_id=name),
            role="answer" if whole else "part",
            spent_nusd=self._spent_nusd, ahead_nusd=ahead_nusd,
        )  # fmt: skip
        if self._booked < len(self.made):
            ended, cost = self.made[-1][0], self._calls.cost(*self.made[-1])
            self._booked = len(self.made)
            self._calls.pass_on(ended, cost, call, attempt.claim, job, policy)
        reply = self._calls.make(call, attempt.claim, job, policy, SubBudget())
        self.made.append((call, reply))
        self.is_whole = whole
        self._spent_nusd += self._calls.cost(call, reply).nusd
        return reply

    def _summary(self, request: Summarize, ahead_nusd: int) -> str:
        """Return the summary of a part; a part that is longer than it seemed is cut once more."""
        try:
            reply = self.ask(request, ahead_nusd=ahead_nusd)
        except TooLong:
            halves = cut(request.text, math.ceil(len(request.text) / 2))
            if not self.made or len(halves) < 2:  # noqa: PLR2004 - a text that cannot be cut
                raise
            smaller = [request.model_copy(update={"text": half}) for half in halves]
            rest = [self._bound(each).nusd for each in smaller]
            texts = [
                self._summary(each, sum(rest[number:]) + ahead_nusd)
                for number, each in enumerate(smaller, 1)
            ]
            return SEPARATOR.join(texts)[:MAX_SUMMARY_CHARS]
        return self._read(request, reply)

    def _read(self, request: Summarize, reply: Reply) -> str:
        part = self._attempt.job.model_copy(update={"request": request})
        try:
            with pool.shielded():
                content = bounded.parse_answer(part, reply.text, finish=reply.finish)
        except BadAnswer as error:
            raise NoAnswer(error, Reason.BEDROCK_FAILED) from None
        assert isinstance(content, Summary)
        return content.text[:MAX_SUMMARY_CHARS]

    def _later_nusd(self, summaries: int, room: int) -> int:
        """Return the most that the calls cost which come after so many summaries of parts."""
        nusd, size = 0, summaries * (MAX_SUMMARY_CHARS + len(SEPARATOR))
        for _ in range(MAX_LEVELS):
            if size <= room:
                break
            summaries = math.ceil(2 * size / room)  # a part has at least half of the room
            part = Summarize(text=".", max_words=MAX_WORDS)
            nusd += summaries * self._widest(part, room).nusd
            size = summaries * (MAX_SUMMARY_CHARS + len(SEPARATOR))
        request = self._attempt.job.request
        assert isinstance(request, LongRequest)
        return nusd + self._widest(request, min(size, room)).nusd

    def _widest(self, request: LongRequest, chars: int) -> Bound:
        """Return the bound of a request whose text has so many characters, whatever they are."""
        return self._bound(request.model_copy(update={"text": _WIDEST * chars}))

    def _bound(self, request: LongRequest) -> Bound:
        part = self._attempt.job.model_copy(update={"request": request})
        prompt = prompts.frontier(part, prompt_id="")
        return self._calls.bound(part, self._model, self._policy, prompt)

    def _waits_for(self, refusal: NoAnswer) -> bool:
        """Wait a moment if parts are paid for and the obstacle passes; return whether to go on."""
        error = refusal.error
        busy = isinstance(error, PassingError) and refusal.reason in {
            Reason.AT_LIMIT,
            Reason.SPILLWAY_SHUT,
        }
        wait_s = (isinstance(error, PassingError) and error.retry_after) or jittered(PAUSE_S)
        if not (busy and self.made) or time.monotonic() + wait_s > self._give_up_at:
            return False
        time.sleep(wait_s)
        return True


def _context(bound: Bound) -> int | None:
    can = bound.terms.can or Prices.packaged().capabilities(bound.terms.base)
    return can.context
