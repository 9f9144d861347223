"""A language model in the place of the router model: the probability of a yes to one question.

Chosen by `FOREBAY_ROUTER_MODEL=engine`; the router runs the engine of its own settings. The model
sees no more of the text than `forebay.routing.scoring.text_features` does. If it has no answer, the
packaged model gives the verdict.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as TooSlow
from itertools import count

from forebay.routing.base import Kind
from forebay.routing.errors import ForebayError
from forebay.routing.jobs import Job, Verdict
from forebay.routing.scoring.logit import logistic
from forebay.routing.scoring.request_features import request_features
from forebay.routing.scoring.router_model import VerdictSource
from forebay.routing.scoring.text_features import Glance
from forebay.workers.engines.engine import Choice, Engine, Prompt, Turn

WAIT_S = 5.0  # for the answer; a router that waits for long is worse than one that guesses
REST_S = 30.0  # after an answer that did not come in time
YES, NO = "yes", "no"
QUESTION = (
    "Another assistant, a small language model, is given the {kind} task below. Will its answer be "
    "correct and complete? Answer with one word.\n\nText:\n{text}\n\nLabels: yes, no"
)


def in_one_turn(kind: Kind, text: str) -> tuple[Turn, ...]:
    """Return the question and the text as one turn of the user."""
    return (Turn(role="user", content=QUESTION.format(kind=kind, text=text)),)


class LlmRouterModel:
    """Gives verdicts by asking an engine whether a small model would answer the job well.

    The packaged model knows the mean gap of each kind, and gives the verdict if the engine cannot,
    or did not in time a moment ago.

    Args:
        engine: scores a yes and a no.
        packaged: the packaged model.
        name: how the versions of the verdicts begin.
        turns: returns what the engine is asked about a text of a job of this kind.
    """

    def __init__(
        self,
        engine: Engine,
        packaged: VerdictSource,
        name: str = "lm",
        turns: Callable[[Kind, str], tuple[Turn, ...]] = in_one_turn,
    ) -> None:
        self._engine, self._packaged = engine, packaged
        self._turns = turns
        self._numbers = count()
        self._rests_until = 0.0
        info = engine.info()
        self.version = f"{name}-{info.model[:40]}-{info.revision}"

    def prior_gap(self, kind: Kind) -> float:
        """Return the mean gap of a kind, whatever the job says."""
        return self._packaged.prior_gap(kind)

    def verdict(self, job: Job, type_gap: float | None = None) -> Verdict:
        """Return the probability of a yes; the rest to 1 is the most that Bedrock can gain.

        `type_gap` is the mean gap of the job's type, if it is known; it shifts the score.
        """
        rests = job.kind == "embed" or time.monotonic() < self._rests_until
        probability = None if rests else self.probability(job.kind, request_features(job)[0])
        if probability is None:
            return self._packaged.verdict(job, type_gap)
        shift = 0.0 if type_gap is None else type_gap - self.prior_gap(job.kind)
        return Verdict(
            probability=round(probability, 6),
            score=round(1 - probability + shift, 6),
            version=self.version,
            features={"no": round(1 - probability, 3), "type": round(shift, 3)},
        )

    def probability(self, kind: Kind, text: str) -> float | None:
        """Return how likely a yes is against a no; `None` if the engine does not answer in time."""
        prompt = self._prompt(kind, text)
        try:
            scores = self._engine.submit(prompt).result(WAIT_S).option_logprobs
        except TooSlow:
            self._engine.cancel(prompt.id)
            self._rests_until = time.monotonic() + REST_S
            return None
        except ForebayError:
            return None
        return logistic(scores[YES] - scores[NO]) if scores else None

    def _prompt(self, kind: Kind, text: str) -> Prompt:
        return Prompt(
            id=f"verdict/{next(self._numbers)}",
            messages=self._turns(kind, Glance(text).seen),
            max_tokens=4,
            constraint=Choice(options=(YES, NO)),
            score_options=True,
        )
