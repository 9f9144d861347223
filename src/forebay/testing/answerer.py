"""Answers rows of bulks by the script, as jobs of their own are answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from forebay.routing.base import changed
from forebay.routing.errors import InvalidJob
from forebay.routing.jobs import Job
from forebay.testing.engine import ScriptedEngine
from forebay.workers.cascade.answerer import Answerer, TakeEnded
from forebay.workers.cascade.stages import PendingAnswer, RawAnswer


class ScriptedAnswerer(Answerer):
    """Tells the engine which row its prompts stand for. A job has told it before."""

    def __init__(self, engine: ScriptedEngine) -> None:
        super().__init__(engine)
        self._scripted = engine

    def begin(self, job: Job, prompt_id: str, **options: Any) -> PendingAnswer:
        """See `Answerer.begin`."""
        if self._scripted.is_working:
            return super().begin(job, prompt_id, **options)
        with self._scripted.working(job.request):
            return super().begin(job, prompt_id, **options)

    def begin_all(self, jobs: Mapping[str, Job], take: TakeEnded) -> dict[str, InvalidJob]:
        """See `Answerer.begin_all`."""
        refused: dict[str, InvalidJob] = {}
        for prompt_id, job in jobs.items():
            with self._scripted.working(job.request):
                refused |= super().begin_all({prompt_id: job}, take)
        return refused

    def begin_alike(self, job: Job, texts: Mapping[str, str], take: TakeEnded) -> None:
        """See `Answerer.begin_alike`; each row tells the engine its own text."""
        for prompt_id, text in texts.items():
            asked = job.model_copy(update={"request": changed(job.request, text=text)})
            with self._scripted.working(asked.request):
                super().begin_alike(asked, {prompt_id: text}, take)

    def at_once(self, jobs: Sequence[Job]) -> list[RawAnswer]:
        """See `Answerer.at_once`; each row has an answer of its own."""
        answers = []
        for job in jobs:
            with self._scripted.working(job.request):
                answers += super().at_once([job])
        return answers
