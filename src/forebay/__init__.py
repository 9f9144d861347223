"""Forebay: a queue-based fleet of local LLM workers, with a spillway to frontier models.

    from forebay import Classify, Client

    with Client(tenant="support") as client:
        answer = client.run(Classify(text="I was charged twice.", labels=["billing", "login"]))
        print(answer.content.label, answer.lane, answer.cost_usd)

The names below are the public interface. Each is imported when it is first used (PEP 562), so that
`import forebay` costs next to nothing and a request can be made without Redis or Celery.
`forebay.testing` gives the tests of a service a fleet in their own process.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forebay.producers.async_client import AsyncClient
    from forebay.producers.bulk.async_handle import AsyncBulkHandle
    from forebay.producers.bulk.handle import BulkHandle
    from forebay.producers.bulk.running.progress import Progress
    from forebay.producers.client import Client
    from forebay.producers.handles import JobHandle
    from forebay.producers.options import Options
    from forebay.producers.results import Completed, Result
    from forebay.routing.errors import (
        BadAnswer,
        BudgetExceeded,
        CallerError,
        Cancelled,
        EgressDenied,
        Ended,
        EngineBusy,
        EngineDied,
        EngineUnavailable,
        Expired,
        ForebayError,
        InvalidJob,
        KeyReused,
        LastingError,
        Misconfigured,
        ModelRefused,
        NoModel,
        NoPrice,
        PassingError,
        ResultTimeout,
        Throttled,
        TooLong,
        Unavailable,
        UnknownJob,
    )
    from forebay.routing.jobs import Job
    from forebay.routing.ledger.dead_letters import DeadJob
    from forebay.routing.questions.decisions import Decisions, QuestionAnswer
    from forebay.routing.questions.labels import Label
    from forebay.routing.questions.questions import Choice, Predicate, Score
    from forebay.routing.receipts import (
        Answer,
        Check,
        Classification,
        Content,
        Doubt,
        Embedding,
        Extraction,
        Generation,
        JobStatus,
        Receipt,
        Summary,
        Verdict,
    )
    from forebay.routing.requests import (
        Classify,
        Decide,
        Embed,
        Extract,
        Generate,
        Message,
        Summarize,
    )
    from forebay.routing.settings import Settings

    __version__: str

__all__ = [
    "Answer",
    "AsyncBulkHandle",
    "AsyncClient",
    "BadAnswer",
    "BudgetExceeded",
    "BulkHandle",
    "CallerError",
    "Cancelled",
    "Check",
    "Choice",
    "Classification",
    "Classify",
    "Client",
    "Completed",
    "Content",
    "DeadJob",
    "Decide",
    "Decisions",
    "Doubt",
    "EgressDenied",
    "Embed",
    "Embedding",
    "Ended",
    "EngineBusy",
    "EngineDied",
    "EngineUnavailable",
    "Expired",
    "Extract",
    "Extraction",
    "ForebayError",
    "Generate",
    "Generation",
    "InvalidJob",
    "Job",
    "JobHandle",
    "JobStatus",
    "KeyReused",
    "Label",
    "LastingError",
    "Message",
    "Misconfigured",
    "ModelRefused",
    "NoModel",
    "NoPrice",
    "Options",
    "PassingError",
    "Predicate",
    "Progress",
    "QuestionAnswer",
    "Receipt",
    "Result",
    "ResultTimeout",
    "Score",
    "Settings",
    "Summarize",
    "Summary",
    "Throttled",
    "TooLong",
    "Unavailable",
    "UnknownJob",
    "Verdict",
    "__version__",
]

#: The module of each public name; every other name of `__all__` is an error's.
_MODULES = {
    "AsyncClient": "forebay.producers.async_client",
    "AsyncBulkHandle": "forebay.producers.bulk.async_handle",
    "BulkHandle": "forebay.producers.bulk.handle",
    "Progress": "forebay.producers.bulk.running.progress",
    "Client": "forebay.producers.client",
    "JobHandle": "forebay.producers.handles",
    "Options": "forebay.producers.options",
    "Completed": "forebay.producers.results",
    "Result": "forebay.producers.results",
    "Job": "forebay.routing.jobs",
    "DeadJob": "forebay.routing.ledger.dead_letters",
    "Label": "forebay.routing.questions.labels",
    **dict.fromkeys(("Decisions", "QuestionAnswer"), "forebay.routing.questions.decisions"),
    **dict.fromkeys(("Choice", "Predicate", "Score"), "forebay.routing.questions.questions"),
    "Settings": "forebay.routing.settings",
    **dict.fromkeys(
        ("Classify", "Decide", "Embed", "Extract", "Generate", "Message", "Summarize"),
        "forebay.routing.requests",
    ),
    **dict.fromkeys(
        (
            "Answer", "Check", "Classification", "Content", "Doubt", "Embedding", "Extraction",
            "Generation", "JobStatus", "Receipt", "Summary", "Verdict",
        ),
        "forebay.routing.receipts",
    ),
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "__version__":
        value: Any = _version()
    else:
        value = getattr(import_module(_MODULES.get(name, "forebay.routing.errors")), name)
    globals()[name] = value
    return value


def _version() -> str:
    """Return the version that is installed; `unknown` if only the files are here."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - rarely needed

    try:
        return version("forebay")
    except PackageNotFoundError:
        return "unknown"


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
