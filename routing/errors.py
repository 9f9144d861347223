"""Every error a caller can meet, each with a stable code: the same over Python, CLI and wire.

    ForebayError
    ├── CallerError           the caller's to mend (exit code 2)
    │   ├── InvalidJob        invalid_job       a field of the job is wrong
    │   │   └── TooLong       too_long          a field is larger than its limit
    │   ├── EgressDenied      egress_denied     the content may not leave the building
    │   ├── BudgetExceeded    budget_exceeded   the money for it is spent
    │   ├── UnknownJob        unknown_job       no such job, or another tenant's
    │   └── Misconfigured     misconfigured     a setting, or a file of settings, is wrong
    ├── PassingError          will pass; try again later (exit code 1)
    │   ├── Throttled         throttled         the other side asks us to slow down
    │   ├── EngineBusy        engine_busy       no free place in the batch
    │   └── Unavailable       unavailable       a part we need cannot be reached
    └── LastingError          trying again would not help (exit code 1)
        ├── ModelRefused      model_refused     the model declined
        ├── BadAnswer         bad_answer        no attempt gave an answer that passes its checks
        ├── EngineDied        engine_died       the engine broke on this job
        ├── EngineUnavailable engine_unavailable  this machine cannot run the engine
        └── Ended             cancelled, expired   the job was ended before an answer

No message ever holds content of a job: messages reach logs, Flower and other people.
"""

from __future__ import annotations

from typing import ClassVar


class ForebayError(Exception):
    """Root of the tree. `code` is stable; `field` names what to mend, where it is one field."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class CallerError(ForebayError):
    """The caller's to mend."""


class InvalidJob(CallerError):
    """A field of the job is wrong."""

    code = "invalid_job"


class TooLong(InvalidJob):
    """A field is larger than its limit, or a prompt than the model's context."""

    code = "too_long"


class EgressDenied(CallerError):
    """The content of the job may not leave the building."""

    code = "egress_denied"


class BudgetExceeded(CallerError):
    """The budget of the job, its tenant or the fleet does not cover the call."""

    code = "budget_exceeded"


class UnknownJob(CallerError):
    """No such job: never submitted, forgotten, or another tenant's."""

    code = "unknown_job"


class Misconfigured(CallerError):
    """A setting, or a file of settings, is wrong."""

    code = "misconfigured"


class PassingError(ForebayError):
    """Will pass; trying again later makes sense. `retry_after` is in seconds, where known."""

    def __init__(
        self, message: str, *, field: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, field=field)
        self.retry_after = retry_after


class Throttled(PassingError):
    """The other side asks us to slow down."""

    code = "throttled"


class EngineBusy(PassingError):
    """The engine has no free place for the job."""

    code = "engine_busy"


class Unavailable(PassingError):
    """A part that is needed cannot be reached."""

    code = "unavailable"


class LastingError(ForebayError):
    """Trying again would not help."""


class ModelRefused(LastingError):
    """The model declined to answer."""

    code = "model_refused"


class BadAnswer(LastingError):
    """No attempt gave an answer that passes its checks."""

    code = "bad_answer"


class EngineDied(LastingError):
    """The engine broke while it worked on the job."""

    code = "engine_died"


class EngineUnavailable(LastingError):
    """This machine cannot run the engine; the message says what to do about it."""

    code = "engine_unavailable"


class Ended(LastingError):
    """The job was ended before there was an answer."""

    code = "ended"


class Cancelled(Ended):
    """Somebody cancelled the job."""

    code = "cancelled"


class Expired(Ended):
    """The job's deadline passed."""

    code = "expired"


def _leaves(root: type[ForebayError]) -> list[type[ForebayError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _leaves(child))]


_BY_CODE = {cls.code: cls for cls in _leaves(ForebayError)}


def gist(code: str) -> str:
    """What a code stands for, in the first words of its class; empty for none of ours."""
    said = (_BY_CODE[code].__doc__ or "") if code in _BY_CODE else ""
    return said[:1].lower() + said.partition(".")[0][1:]


def from_code(code: str, message: str, field: str | None = None) -> ForebayError:
    """The error that a stored failure stands for; an unknown code gives the root class."""
    return _BY_CODE.get(code, ForebayError)(message, field=field)


class Lost(Exception):  # a signal, not an error
    """This claim no longer holds the job: it ended, or another worker has it. Drop the work."""
