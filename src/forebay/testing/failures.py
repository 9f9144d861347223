"""The errors in which a script may end a request: those that a lane can meet."""

from __future__ import annotations

from forebay.routing.errors import (
    BadAnswer,
    BudgetExceeded,
    EgressDenied,
    EngineBusy,
    EngineDied,
    Expired,
    ForebayError,
    InvalidJob,
    Misconfigured,
    ModelRefused,
    Throttled,
    TooLong,
    Unavailable,
)
from forebay.routing.lanes import Lane

FAILURES = (
    ModelRefused, BadAnswer, Throttled, Unavailable, EngineBusy, EngineDied, TooLong, InvalidJob,
    Misconfigured, EgressDenied, BudgetExceeded, Expired,
)  # fmt: skip
OF_AN_ENGINE = (EngineBusy, EngineDied)


def failure(error: ForebayError | type[ForebayError]) -> ForebayError:
    """Return the error that was given, or an error of the class that was given.

    Raises:
        TypeError: No work of a lane ends in such an error.
    """
    if isinstance(error, type) and issubclass(error, FAILURES):
        return error("scripted")
    if isinstance(error, FAILURES):
        return error
    names = ", ".join(cls.__name__ for cls in FAILURES)
    raise TypeError(f"{error!r} ends no request; give one of {names}")


def lane_of(error: ForebayError, lane: Lane | None) -> Lane | None:
    """Return the lane in which this error happens; `None` for both.

    Raises:
        ValueError: It does not happen in the lane that was asked for.
    """
    if not isinstance(error, OF_AN_ENGINE):
        return lane
    if lane == "bedrock":
        raise ValueError(f"lane: {type(error).__name__} happens in the local lane only")
    return "local"
