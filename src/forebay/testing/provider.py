"""A provider of the bedrock lane that calls nobody: the script answers in the model's place."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from forebay.routing.errors import BadAnswer, ForebayError, ModelRefused, PassingError
from forebay.routing.jobs import Job
from forebay.routing.lanes import BEDROCK
from forebay.routing.limits.prices import Usage
from forebay.routing.receipts import Generation
from forebay.testing.engine import ScriptedEngine, text_of
from forebay.testing.script import Reply, Script
from forebay.workers.engines.engine import Ending, Prompt, TakeText
from forebay.workers.frontier import provider
from forebay.workers.frontier.bedrock.converse_request import bounds
from forebay.workers.frontier.provider import Malformed, Refused
from forebay.workers.frontier.terms import PLAIN, Terms
from forebay.workers.prompts import prompts

RETRY_AFTER_S = 0.2  # of a scripted passing error that names no time; live it is about 5 s
JUDGEMENT = "yes"  # of an audit that asks whether a local answer is good


class ScriptedProvider:
    """Answers the calls of the bedrock lane with the script; see `provider.Provider`.

    Args:
        script: has the replies.
        engine: answers the calls that no rule of the script answers.
        term_s: see `Provider.term_s`.
    """

    def __init__(self, script: Script, engine: ScriptedEngine, term_s: float) -> None:
        self.term_s = term_s
        self.region = "testing"
        self._script = script
        self._engine = engine
        self._current = threading.local()

    @contextmanager
    def working(self, job: Job) -> Iterator[None]:
        """Have this thread's calls answered for this job."""
        self._current.job, self._current.failed = job, False
        try:
            yield
        finally:
            self._current.job = None

    @property
    def failed(self) -> bool:
        """True if the script failed a call of the job that this thread works on."""
        return bool(self._current.failed)

    def bounds(self, prompt: Prompt, model: str, terms: Terms = PLAIN) -> tuple[int, int]:
        """Return the bounds that apply on Bedrock; see `Provider.bounds`."""
        return bounds(prompt, model, terms)

    def count(self, prompt: Prompt, model: str, terms: Terms = PLAIN) -> None:
        """Return `None`: nobody counts the tokens of a script; see `Provider.count`."""

    def call(  # the contract's arguments
        self,
        prompt: Prompt,
        model: str,
        *,
        call_id: str,  # noqa: ARG002
        terms: Terms = PLAIN,  # noqa: ARG002
        on_text: TakeText | None = None,
    ) -> provider.Reply:
        """See `Provider.call`. A token is a word."""
        text, finish = self._answer(prompt)
        if on_text is not None:
            on_text(text)
        return provider.Reply(
            text=text,
            usage=_usage(prompt, text),
            finish=finish,
            model=model,
            tier="default",
            stand_in=True,
            latency_s=0.0,
        )

    def _answer(self, prompt: Prompt) -> tuple[str, Ending]:
        """Return the text that answers a call, and how it ends.

        Raises:
            ForebayError: The script wants the call to fail.
        """
        job: Job = self._current.job
        if prompt.messages != prompts.frontier(job, prompt_id=prompt.id).messages:
            return JUDGEMENT, "stop"
        reply: Reply | None = self._script.reply(job.request, BEDROCK)
        try:
            if isinstance(reply, ForebayError):
                raise _as_provided(reply, prompt)
            if reply is None:
                return self._engine.echo(job, prompt.id), "stop"
        except ForebayError:
            self._current.failed = True
            raise
        return text_of(reply), reply.finish if isinstance(reply, Generation) else "stop"


def _as_provided(error: ForebayError, prompt: Prompt) -> ForebayError:
    """Return a scripted error as a provider raises it: billed, or with a time for the next try."""
    if isinstance(error, ModelRefused):
        return Refused(error.message, _usage(prompt, ""), stand_in=True)
    if isinstance(error, BadAnswer):
        return Malformed(error.message, _usage(prompt, ""), stand_in=True)
    if isinstance(error, PassingError):
        error = copy.copy(error)
        error.retry_after = error.retry_after or RETRY_AFTER_S
    return error


def _usage(prompt: Prompt, text: str) -> Usage:
    tokens_in = sum(len(turn.content.split()) for turn in prompt.messages)
    return Usage(input=tokens_in, output=len(text.split()))
