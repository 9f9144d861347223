"""Answers of `classify` rows that are surely kept: they become results without a row's steps."""

from __future__ import annotations

from typing import NamedTuple

from forebay.routing.bulk.row_result import RowResult
from forebay.routing.jobs import Classify
from forebay.workers.bulk.row_outcome import of_label
from forebay.workers.cascade.answerer import Ended
from forebay.workers.checks.answer_checks import LABEL
from forebay.workers.engines.engine import Completion
from forebay.workers.prompts.parsing import probabilities


class PlainLabels(NamedTuple):
    """Makes results of the plain answers to the rows of one shard.

    An answer is plain if its text is a label, the probability of each label is known, and the
    policy keeps any such answer. All others take the steps of a row.

    Attributes:
        names: the labels, in the order of the request.
        least: the policy keeps answers that are at least as probable.
    """

    names: tuple[str, ...]
    least: float

    @classmethod
    def of(cls, request: Classify, least: float) -> PlainLabels:
        """Return what makes results of the answers to such requests."""
        return cls(tuple([option.name for option in request.options]), least)

    def result(self, ended: Ended) -> RowResult | None:
        """Return the result of a row; `None` if its answer is not plain."""
        info, _, end = ended
        if not isinstance(end, Completion) or end.finish not in {"stop", "length"}:
            return None
        known, names = end.option_logprobs or {}, self.names
        logprobs = {name: known[name] for name in names if name in known}
        if end.text not in names or len(logprobs) < len(names):
            return None
        scores = probabilities(logprobs)
        sure = scores[end.text]
        if sure < self.least:
            return None
        return RowResult(
            "done", info.model, info.revision, checks=(LABEL,),
            content=of_label(end.text, sure, scores),
            tokens_in=end.tokens_in, tokens_out=end.tokens_out,
        )  # fmt: skip
