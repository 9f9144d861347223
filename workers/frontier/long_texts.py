"""Answers a job whose text is longer than a frontier model's context, in several calls.

The money of all calls is reserved before the first one, and passed on from each call to the next.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from forebay.routing.errors import BadAnswer, Expired, PassingError, TooLong
from forebay.routing.jobs import Job, Summarize, Summary
from forebay.routing.policy.policy_file import Policy
from forebay.routing.reasons import Reason
from forebay.routing.store.backoff import jittered
from forebay.workers.frontier.calling.assignment import Assignment
from forebay.workers.frontier.calling.call import Call
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

MAX_WORDS = 600  # of the summary of a part
BYTES_PER_WORD = 12  # of a summary, at most; a model may write more words than it was asked for
BYTES_PER_TOKEN = 3  # few, so that a part fits the context; if it does not, it is cut again
#: How long a job whose parts are half done waits for a model that is busy. Putting the job back
#: would lose the parts that are paid for.
PATIENCE_S = 120.0
PAUSE_S = 2.0

TOO_DEAR = frozenset({Reason.BUDGET_SPENT, Reason.JOB_COST_CAP})


def can_be_cut(job: Job, policy: Policy) -> bool:
    """Return whether a job may be answered in parts: its kind allows it, and so does the policy."""
    return isinstance(job.request, LongRequest) and policy.tenant(job.tenant).max_parts > 0


class LongTexts:
    """Answers long texts by the calls of one worker."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def ask(
        self, assignment: Assignment, model: str, error: TooLong
    ) -> tuple[int, list[tuple[Call, Reply]]]:
        """Return the number of parts, and all calls with their replies; the last is not booked.

        Raises:
            NoAnswer: There is no answer in parts; what was called is booked.
            Lost: The job no longer belongs to this claim.
            Expired: The job's deadline passed.
        """
        run = _Run(self._calls, assignment, model)
        try:
            return self._ask(run, assignment, error)
        except NoAnswer as refusal:
            rules = assignment.policy.tenant(assignment.job.tenant)
            counts = rules.count_tokens == "if_needed"
            if run.made or not counts or refusal.reason not in TOO_DEAR:
                raise
        run.counted = True  # the tokens may keep to the budget that the bytes break
        return self._ask(run, assignment, error)

    @staticmethod
    def _ask(
        run: _Run, assignment: Assignment, error: TooLong
    ) -> tuple[int, list[tuple[Call, Reply]]]:
        job, request = assignment.job, assignment.job.request
        assert isinstance(request, LongRequest)
        max_parts = assignment.policy.tenant(job.tenant).max_parts
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
        counted: the tokens of the parts are counted before their money is reserved.
    """

    def __init__(self, calls: Calls, assignment: Assignment, model: str) -> None:
        self.made: list[tuple[Call, Reply]] = []
        self.is_whole = self.counted = False
        self._calls = calls
        self._assignment = assignment
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
        later_nusd = self._later_nusd(requests, room)
        costs = [self._bound(request, counted=self.counted).nusd for request in requests]
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
            deadline = self._assignment.job.deadline
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
        assignment = self._assignment
        whole = not isinstance(request, Summarize) or not ahead_nusd
        part = self._part(request)
        call = self._calls.plan(
            assignment, self._model, lambda name: prompts.frontier(part, prompt_id=name),
            role="answer" if whole else "part",
            spent_nusd=self._spent_nusd, ahead_nusd=ahead_nusd, counted=self.counted,
        )  # fmt: skip
        if self._booked < len(self.made):
            ended, cost = self.made[-1][0], self._calls.cost(*self.made[-1])
            self._booked = len(self.made)
            self._calls.pass_on(ended, cost, call, assignment)
        reply = self._calls.make(call, assignment)
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
            return _shortened(SEPARATOR.join(texts), request.max_words)
        return self._read(request, reply)

    def _read(self, request: Summarize, reply: Reply) -> str:
        try:
            with pool.shielded():
                content = bounded.parse_answer(self._part(request), reply.text, finish=reply.finish)
        except BadAnswer as error:
            raise NoAnswer(error, Reason.BEDROCK_FAILED) from None
        assert isinstance(content, Summary)
        return _shortened(content.text, request.max_words)

    def _later_nusd(self, requests: Sequence[Summarize], room: int) -> int:
        """Return the most that the calls cost which come after these parts are summarized."""
        part, nusd = requests[0], 0
        longest = part.max_words * BYTES_PER_WORD + len(SEPARATOR)
        size = len(requests) * longest
        for _ in range(MAX_LEVELS):
            if size <= room:
                break
            summaries = math.ceil(2 * size / room)  # a part has at least half of the room
            nusd += summaries * self._widest(part, min(size, 4 * room)).nusd
            size = min(size, summaries * longest)
        request = self._assignment.job.request
        assert isinstance(request, LongRequest)
        return nusd + self._widest(request, min(size, 4 * room)).nusd

    def _widest(self, request: LongRequest, size: int) -> Bound:
        """Return the bound of a request whose text has so many bytes, whatever they say."""
        return self._bound(request.model_copy(update={"text": "x" * size}))

    def _bound(self, request: LongRequest, *, counted: bool = False) -> Bound:
        part = self._part(request)
        prompt = prompts.frontier(part, prompt_id="")
        assignment = replace(self._assignment, job=part)
        return self._calls.bound(assignment, self._model, prompt, counted=counted)

    def _part(self, request: LongRequest) -> Job:
        """Return the job with another request."""
        return self._assignment.job.model_copy(update={"request": request})

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


def _shortened(summary: str, max_words: int) -> str:
    """Return a summary that is no longer than was reserved for, even if the model wrote more."""
    most = max_words * BYTES_PER_WORD
    return summary.encode("utf-8", "ignore")[:most].decode("utf-8", "ignore")


def _context(bound: Bound) -> int | None:
    return bound.terms.capabilities(bound.terms.base).context
