"""The steps of the local lane for one job, from its answer to its outcome."""

from __future__ import annotations

from dataclasses import dataclass, replace

from forebay.routing.errors import InvalidJob, TooLong
from forebay.routing.store.text_stream import TextWriter
from forebay.workers.cascade.answerer import Answerer
from forebay.workers.cascade.check import check
from forebay.workers.cascade.conclusion import Conclusion
from forebay.workers.cascade.doubting.doubt import Doubter
from forebay.workers.cascade.doubting.label_probabilities import LabelProbabilities
from forebay.workers.cascade.escalation import Escalator
from forebay.workers.cascade.long_texts.long_texts import LongTexts
from forebay.workers.cascade.recall import Recall
from forebay.workers.cascade.second_opinion import SecondOpinion, SecondOpinions
from forebay.workers.cascade.stages import DecidedAnswer, DoubtedAnswer, PendingAnswer, RawAnswer
from forebay.workers.runtime.attempt import Attempt
from forebay.workers.runtime.outcomes import Answered, Escalated, Failed, Outcome

#: Fields of a job from which a constraint on the text comes.
CONSTRAINT_FIELDS = frozenset({"schema", "regex"})


@dataclass(frozen=True, slots=True)
class JobSteps:
    """Takes jobs through the local lane; ARCHITECTURE.md walks one job through it."""

    answerer: Answerer
    recalls: Recall
    texts: TextWriter
    second_opinions: SecondOpinions
    labels: LabelProbabilities
    doubter: Doubter
    escalator: Escalator
    long_texts: LongTexts
    conclusion: Conclusion

    def recall(self, attempt: Attempt) -> Answered | None:
        """Return an exact earlier answer, if there is one and the job allows it.

        Raises:
            Unavailable: The job names a model that is not served here.
        """
        self.answerer.require_model(attempt.job)
        return self.recalls.recall(attempt)

    def answer(self, attempt: Attempt) -> Outcome:
        """Answer a job, and return its outcome."""
        second = self.second_opinions.open(attempt)
        return self.finish(attempt, second, self.begin(attempt))

    def begin(self, attempt: Attempt, *, best_effort: bool = False) -> PendingAnswer:
        """Begin the answer; a job that asks for it gets its text while it is generated."""
        job = attempt.job
        on_text = self.texts.open_for(job)
        return self.answerer.begin(job, attempt.prompt_id, best_effort=best_effort, on_text=on_text)

    def finish(self, attempt: Attempt, second: SecondOpinion, pending: PendingAnswer) -> Outcome:
        """Wait for the first answer of a job, and return the outcome of the job."""
        with second:  # begins here, if at all: the first answer's slot comes first
            doubted = self.doubt(attempt, second, pending)
            if not isinstance(doubted, DoubtedAnswer):
                return doubted
            return self.conclude(second, self.escalator.decide(doubted))

    def doubt(
        self, attempt: Attempt, second: SecondOpinion, pending: PendingAnswer
    ) -> DoubtedAnswer | Escalated | Failed:
        """Wait for the first answer, check and compare it, and compute how much to doubt it.

        Returns:
            The outcome of a job that the engine cannot do.
        """
        raw = self._first_answer(attempt, pending)
        if not isinstance(raw, RawAnswer):
            return raw
        checked = check(attempt.job, self.labels.calibrated(attempt.job, raw))
        return self.doubter.doubt(second.compare(checked))

    def conclude(self, second: SecondOpinion, decided: DecidedAnswer) -> Outcome:
        """Return the outcome of a job whose answer is decided on."""
        return self.conclusion.conclude(second.rescue(decided))

    def cancel(self, attempt: Attempt) -> None:
        """Cancel what the engines do for a job."""
        self.answerer.cancel(attempt.prompt_id)
        self.answerer.cancel(attempt.second_prompt_id)
        self.answerer.cancel(attempt.third_prompt_id)
        self.long_texts.cancel(attempt.prompt_id)

    def _first_answer(
        self, attempt: Attempt, pending: PendingAnswer
    ) -> RawAnswer | Escalated | Failed:
        """Wait for the first answer, or return the outcome of a job that the engine cannot do.

        The job goes up if it may. If it stays, it is answered in parts if it is too long, and the
        engine enforces what it can of the constraint.
        """
        try:
            return pending()
        except InvalidJob as error:
            outcome = self.escalator.without_answer(attempt, error)
            if isinstance(outcome, Escalated):
                return outcome
            try:
                return self._otherwise(attempt, error)
            except InvalidJob as again:
                return replace(outcome, error=again)

    def _otherwise(self, attempt: Attempt, error: InvalidJob) -> RawAnswer:
        """Answer a job in parts, or under as much of its constraint as can be enforced.

        Raises:
            InvalidJob: Neither is possible.
        """
        if isinstance(error, TooLong):
            return self.long_texts.answer(attempt, attempt.prompt_id, error)
        if error.field not in CONSTRAINT_FIELDS:
            raise error
        return self.begin(attempt, best_effort=True)()
