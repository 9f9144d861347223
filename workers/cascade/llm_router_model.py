"""A language model in the place of the router model: one yes or no about a job, by its likelihood.

Chosen by FOREBAY_ROUTER_MODEL=engine; the engine is that of the worker's own settings. It sees the
text and no more of it than `forebay.routing.scoring.text_features` does; where it has no word, the packaged model has.
"""

from __future__ import annotations

from concurrent.futures import TimeoutError as TooSlow
from itertools import count

from forebay.routing.base import Kind
from forebay.routing.errors import ForebayError
from forebay.routing.jobs import Job, Verdict
from forebay.routing.scoring.logit import logistic
from forebay.routing.scoring.request_features import request_features
from forebay.routing.scoring.router_model import RouterModel
from forebay.routing.scoring.text_features import Glance
from forebay.workers.engines.engine import Choice, Engine, Prompt, Turn

WAIT_S = 5.0  # for the answer; a router that waits for long is worse than one that guesses
YES, NO = "yes", "no"
ASKED = (
    "Another assistant, a small language model, is given the {kind} task below. Will its answer be "
    "correct and complete? Answer with one word.\n\nText:\n{text}\n\nLabels: yes, no"
)


class LlmRouterModel:
    """Asks the engine; what is usual of a kind, and what it cannot say, is the packaged model's."""

    def __init__(self, engine: Engine, packaged: RouterModel) -> None:
        self._engine, self._packaged = engine, packaged
        self._numbers = count()
        info = engine.info()
        self.version = f"lm-{info.model[:40]}-{info.revision}"

    def prior_gap(self, kind: Kind) -> float:
        """The mean gap of a kind, before anything is looked at."""
        return self._packaged.prior_gap(kind)

    def verdict(self, job: Job, type_gap: float | None = None) -> Verdict:
        """The chance of a yes. What it lacks to 1 is at most to be gained; the type moves it."""
        chance = None if job.kind == "embed" else self._chance(job)
        if chance is None:
            return self._packaged.verdict(job, type_gap)
        usual = self.prior_gap(job.kind)
        moved = 0.0 if type_gap is None else type_gap - usual
        return Verdict(
            probability=round(chance, 6),
            score=round(1 - chance + moved, 6),
            version=self.version,
            features={"no": round(1 - chance, 3), "type": round(moved, 3)},
        )

    def _chance(self, job: Job) -> float | None:
        """How likely a yes is beside a no; none where the engine has no answer in time."""
        prompt = self._prompt(job)
        try:
            scores = self._engine.submit(prompt).result(WAIT_S).option_logprobs
        except TooSlow:
            self._engine.cancel(prompt.id)
            return None
        except ForebayError:
            return None
        return logistic(scores[YES] - scores[NO]) if scores else None

    def _prompt(self, job: Job) -> Prompt:
        text = Glance(request_features(job)[0]).seen
        return Prompt(
            id=f"verdict/{next(self._numbers)}",
            messages=(Turn(role="user", content=ASKED.format(kind=job.kind, text=text)),),
            max_tokens=4,
            constraint=Choice(options=(YES, NO)),
            score_options=True,
        )
