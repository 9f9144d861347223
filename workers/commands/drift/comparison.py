"""Answers the panel on an engine, and compares the answers with the pinned ones."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from statistics import fmean

from forebay.routing.base import KINDS, Kind
from forebay.routing.errors import ForebayError, InvalidJob
from forebay.routing.jobs import Classification, Decisions, Job
from forebay.routing.overview.percentage import percentage
from forebay.workers.cascade.answerer import Answerer
from forebay.workers.cascade.check import check
from forebay.workers.cascade.stages import PendingAnswer
from forebay.workers.checks import bounded as bounded_checks
from forebay.workers.commands.drift.record import Comparison, KindDrift, PanelAnswer, Run
from forebay.workers.engines.engine import Engine
from forebay.workers.engines.registry import ENGINES

#: Mean agreement below which a kind has moved. Prose may be worded in another way.
MIN_AGREEMENT: dict[Kind, float] = {
    "classify": 0.9, "decide": 0.9, "extract": 0.9, "summarize": 0.6, "generate": 0.7,
    "embed": 0.98,
}  # fmt: skip
MAX_FEWER_PASSED = 0.1  # share of answers that may fail their checks in addition
MAX_SHIFT = 0.15  # mean change of a probability


def answer_panel(engine: Engine, jobs: Sequence[Job], driver: str) -> Run:
    """Return the engine's answers to all jobs, which share its batch."""
    answerer, info = Answerer(engine), engine.info()
    begun = [_begin(answerer, job, f"drift/{at}") for at, job in enumerate(jobs)]
    answers = tuple(_finished(job, pending) for job, pending in zip(jobs, begun, strict=True))
    return Run(
        made=time.time(), engine=info.engine, library=_library(info.engine), model=info.model,
        revision=info.revision, driver=driver, answers=answers,
    )  # fmt: skip


def compared(pinned: Run, now: Run) -> Comparison:
    """Return how the answers of a run differ from the pinned ones, by kind."""
    pairs = list(zip(pinned.answers, now.answers, strict=True))
    kinds = tuple(
        _drift(kind, [pair for pair in pairs if pair[0].kind == kind])
        for kind in KINDS
        if any(pair[0].kind == kind for pair in pairs)
    )
    return Comparison(made=now.made, named=now.named, kinds=kinds)


def _begin(answerer: Answerer, job: Job, prompt_id: str) -> PendingAnswer | None:
    try:
        return answerer.begin(job, prompt_id, best_effort=True)
    except InvalidJob:  # longer than the context of this engine
        return None


def _finished(job: Job, pending: PendingAnswer | None) -> PanelAnswer:
    """Wait for an answer; an answer that the engine cannot give is missing.

    Raises:
        Unavailable, EngineDied: The engine gives no answers at all.
    """
    if pending is None:
        return PanelAnswer(kind=job.kind, content=None, passed=False)
    try:
        checked = check(job, pending())
    except InvalidJob:
        return PanelAnswer(kind=job.kind, content=None, passed=False)
    return PanelAnswer(
        kind=job.kind, content=checked.content, passed=checked.passed,
        low_logprob=checked.raw.low_logprob,
    )  # fmt: skip


def _library(engine: str) -> str:
    library = next((entry.library for name, entry in ENGINES.items() if name == engine), None)
    try:
        return version(library) if library else ""
    except PackageNotFoundError:
        return ""


def _drift(kind: Kind, pairs: Sequence[tuple[PanelAnswer, PanelAnswer]]) -> KindDrift:
    changes = [change for pair in pairs if (change := _surer(*pair)) is not None]
    found = KindDrift(
        kind=kind, jobs=len(pairs),
        exact=fmean(float(old.content == new.content) for old, new in pairs),
        agreement=fmean(_agreement(old, new) for old, new in pairs),
        passed_before=fmean(float(old.passed) for old, _ in pairs),
        passed=fmean(float(new.passed) for _, new in pairs),
        surer=fmean(changes) if changes else None,
    )  # fmt: skip
    return found.model_copy(update={"moved": ", ".join(_moves(found))})


def _moves(found: KindDrift) -> Iterator[str]:
    if found.agreement < MIN_AGREEMENT[found.kind]:
        yield f"agreement {found.agreement:.2f}, less than {MIN_AGREEMENT[found.kind]:.2f}"
    if found.passed < found.passed_before - MAX_FEWER_PASSED:
        now, before = percentage(found.passed), percentage(found.passed_before)
        yield f"{now} passed their checks, {before} before"
    if found.surer is not None and abs(found.surer) > MAX_SHIFT:
        yield f"probabilities shifted by {found.surer:+.2f}"


def _agreement(old: PanelAnswer, new: PanelAnswer) -> float:
    if old.content is None or new.content is None:
        return float(old.content is new.content)
    if old.content == new.content:
        return 1.0
    if old.content.kind == new.content.kind == "embed":
        products = zip(old.content.vectors, new.content.vectors, strict=True)
        return fmean(math.fsum(a * b for a, b in zip(*each, strict=True)) for each in products)
    try:
        return bounded_checks.contents(old.content, new.content)
    except ForebayError:
        return 0.0


def _surer(old: PanelAnswer, new: PanelAnswer) -> float | None:
    """Return how much more probable the new answer is to its model than the old one was."""
    before, after = _probability(old), _probability(new)
    return None if before is None or after is None else after - before


def _probability(answer: PanelAnswer) -> float | None:
    if isinstance(answer.content, Classification | Decisions):
        return answer.content.probability
    return None if answer.low_logprob is None else math.exp(min(0.0, answer.low_logprob))
