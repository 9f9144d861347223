"""Every error a caller can meet. Each has a stable code, the same in Python and on the CLI.

    ForebayError
    ├── CallerError           the caller can mend it (exit code 2)
    │   ├── InvalidJob        invalid_job       a field of the job is wrong
    │   │   ├── TooLong       too_long          a field is larger than its limit
    │   │   └── KeyReused     key_reused        an idempotency key was used for another job
    │   ├── EgressDenied      egress_denied     the content may not leave the building
    │   ├── BudgetExceeded    budget_exceeded   the budget does not cover the call
    │   ├── UnknownJob        unknown_job       no such job, or another tenant's
    │   │   └── NotFound      not_found         no such file, batch, bulk, key, webhook, ...
    │   └── Misconfigured     misconfigured     a setting, or a file of settings, is wrong
    │       ├── NoModel       no_model_allowed  the policy allows no model on Bedrock
    │       └── NoPrice       no_price          the policy names a model without a price
    ├── PassingError          temporary; try again later (exit code 1)
    │   ├── Throttled         throttled         the service asks us to slow down
    │   ├── EngineBusy        engine_busy       the batch has no free slot
    │   └── Unavailable       unavailable       a part that is needed cannot be reached
    │       └── RedisUnavailable  unavailable   Redis cannot be reached, or is out of memory
    └── LastingError          permanent; trying again would not help (exit code 1)
        ├── ModelRefused      model_refused     the model declined
        ├── BadAnswer         bad_answer        no attempt gave a usable answer
        ├── EngineDied        engine_died       the engine broke while it worked on the job
        ├── EngineUnavailable engine_unavailable  this machine cannot run the engine
        └── Ended             cancelled, expired   the job was ended before an answer

A wait that takes too long raises `ResultTimeout`, a `TimeoutError`: the job itself goes on.

No message holds content of a job, because messages reach logs, Flower and other people.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from forebay.routing.receipts import Receipt


class ForebayError(Exception):
    """An error of Forebay. Root of the tree.

    Attributes:
        code: stable name of the error, one per class.
        message: what is wrong, without the field's name.
        field: the field, variable or file to mend, or `None`.
        job_id: the job that the error is about, or `None`. Of `KeyReused`, the key's first job.
        receipt: the receipt of the job, if the job has ended.
        job_ids: jobs that were being submitted when a `map` could not go on. Each of them is under
            way, or was never taken in: `client.status(job_id)` tells.
    """

    code: ClassVar[str] = "error"
    job_id: str | None = None
    job_ids: tuple[str, ...] = ()
    receipt: Receipt | None = None

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class CallerError(ForebayError):
    """The caller can mend it."""


class InvalidJob(CallerError):
    """A field of the job is wrong."""

    code = "invalid_job"


class TooLong(InvalidJob):
    """A field is larger than its limit, or the prompt is longer than the model's context."""

    code = "too_long"


class KeyReused(InvalidJob):
    """The idempotency key was used for another job."""

    code = "key_reused"


class EgressDenied(CallerError):
    """The content of the job may not leave the building."""

    code = "egress_denied"


class BudgetExceeded(CallerError):
    """The budget of the job, its tenant or the fleet does not cover the call."""

    code = "budget_exceeded"


class UnknownJob(CallerError):
    """There is no such job: it was never submitted, is forgotten, or is another tenant's."""

    code = "unknown_job"


class NotFound(UnknownJob):
    """There is no such thing: it was never there, was deleted, or is another tenant's."""

    code = "not_found"


class Misconfigured(CallerError):
    """A setting, or a file of settings, is wrong."""

    code = "misconfigured"


class NoModel(Misconfigured):
    """The policy allows no model on Bedrock for this job."""

    code = "no_model_allowed"


class NoPrice(Misconfigured):
    """The policy names a model on Bedrock for which no price is listed."""

    code = "no_price"


class PassingError(ForebayError):
    """Temporary; trying again later makes sense.

    Attributes:
        retry_after: seconds to wait before the next try, or `None` if unknown.
    """

    def __init__(
        self, message: str, *, field: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, field=field)
        self.retry_after = retry_after


class Throttled(PassingError):
    """The service asks us to slow down."""

    code = "throttled"


class EngineBusy(PassingError):
    """The engine has no free slot for the job."""

    code = "engine_busy"


class Unavailable(PassingError):
    """A part that is needed cannot be reached."""

    code = "unavailable"


class RedisUnavailable(Unavailable):
    """Redis cannot be reached, or is out of memory, which is never the fault of one job."""


class LastingError(ForebayError):
    """Permanent; trying again would not help."""


class ModelRefused(LastingError):
    """The model declined to answer."""

    code = "model_refused"


class BadAnswer(LastingError):
    """No attempt gave an answer that passes the checks that an answer must pass."""

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


def _with_subclasses(root: type[ForebayError]) -> list[type[ForebayError]]:
    return [root, *(cls for child in root.__subclasses__() for cls in _with_subclasses(child))]


_BY_CODE = {cls.code: cls for cls in _with_subclasses(ForebayError) if "code" in vars(cls)}


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 job`, `2,000 jobs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def gist(code: str) -> str:
    """Return what a code means, from the docstring of its class; empty for an unknown code."""
    sentence = (_BY_CODE[code].__doc__ or "") if code in _BY_CODE else ""
    return sentence[:1].lower() + sentence.partition(".")[0][1:]


def from_code(code: str, message: str, field: str | None = None) -> ForebayError:
    """Return the error of a stored failure; an unknown code gives the root class."""
    return _BY_CODE.get(code, ForebayError)(message, field=field)


class ResultTimeout(TimeoutError):
    """The caller has waited long enough; the job goes on, and its id leads back to it.

    Attributes:
        job_id: the job that was waited for.
        job_ids: all jobs that the wait leaves under way, in the order of their requests: the job
            itself, and after `map` every job that it had submitted and not yielded.
    """

    def __init__(
        self, message: str, *, job_id: str | None = None, job_ids: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.job_id = job_id
        self.job_ids = tuple(job_ids)


class Lost(Exception):  # a signal, not an error
    """The claim no longer holds the job: it ended, or another worker has it. Drop the work."""
