"""The signal from the calls to the lane that a job has no answer from the frontier."""

from __future__ import annotations

from forebay.routing.errors import ForebayError, PassingError
from forebay.routing.reasons import Reason


class NoAnswer(Exception):  # a signal, caught by the lane
    """The reason why there is no answer from the frontier.

    Attributes:
        error: what a job that fails is told.
        reason: why.
        detail: what the reason names, such as a model.
        another: another model might give an answer.
        waits: the obstacle is not the job's own and may pass, so the job may wait.
        estimated: a call was booked at its worst case, since its usage could not be priced.
        spent_nusd: what the call cost that gave no answer.
    """

    def __init__(
        self,
        error: ForebayError,
        reason: Reason,
        *,
        detail: str = "",
        another: bool = False,
        waits: bool | None = None,
        estimated: bool = False,
        spent_nusd: int = 0,
    ) -> None:
        super().__init__(error.code)
        self.error = error
        self.reason = reason
        self.detail = detail
        self.another = another
        self.waits = isinstance(error, PassingError) if waits is None else waits
        self.estimated = estimated
        self.spent_nusd = spent_nusd

    def after(self, earlier: NoAnswer | None) -> NoAnswer:
        """Return the refusal that counts, of this one and that of the models asked before.

        A model without a price is the reason only if there is no other. A model whose limits are
        used up will be free soon, which is worth waiting for.
        """
        if earlier is None:
            return self
        soon = earlier.reason is Reason.AT_LIMIT and not self.waits
        counts = earlier if self.reason is Reason.NO_PRICE or soon else self
        counts.estimated = earlier.estimated or self.estimated
        counts.another = self.another
        return counts

    @property
    def codes(self) -> tuple[str, ...]:
        """The reason codes for the receipt, the reason last."""
        code = f"{self.reason}:{self.detail}" if self.detail else self.reason.value
        return (Reason.COST_ESTIMATED.value, code) if self.estimated else (code,)
