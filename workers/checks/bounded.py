"""The checks and comparisons of `workers.checks`, within the budget of `workers.isolation`.

Nothing that a caller or a model wrote may hold a worker's thread: a check that takes longer is
stopped, and its answer counts as `unchecked`.
"""

from __future__ import annotations

from collections.abc import Callable

from forebay.routing.jobs import (
    Check,
    Classify,
    Content,
    Decide,
    Embed,
    Extract,
    Extraction,
    Generate,
    Generation,
    Job,
    Summarize,
    Summary,
)
from forebay.routing.reasons import Reason
from forebay.workers.checks import agreement, answer_checks
from forebay.workers.checks.slow_forms import SlowForms
from forebay.workers.engines.engine import Ending, Vectors
from forebay.workers.isolation.limits import WALL_S, OverBudget
from forebay.workers.isolation.pool import call, call_within
from forebay.workers.isolation.schemas import is_cheap, weight

MAX_CHARS = 8_000  # of a text and its answer, which are checked in this process
SHORT_WALL_S = 0.5  # of a check whose form was stopped lately
MAX_OPTIONS = 64  # weight of a schema whose values are looked up in the text in this process
MAX_NUMERALS = 800  # digits and the like in a text; each number costs as much as 100 letters
MAX_LOOKUPS = 250_000  # characters of a text times weight of the values looked up in it

_slow_forms = SlowForms()


def check(job: Job, content: Content, *, finish: Ending = "stop") -> tuple[Check, ...]:
    """Return every check of this kind of answer, passed or not.

    If checking is stopped at its budget, the one check is `unchecked`, which failed.

    Raises:
        Lost: The job was cancelled meanwhile.
    """
    if is_quick(job, content):
        return answer_checks.check(job, content, finish=finish)
    wall_s = SHORT_WALL_S if job in _slow_forms else WALL_S
    try:
        return call_within(wall_s, answer_checks.check, job, content, finish=finish)
    except OverBudget as error:
        _slow_forms.add(job)
        return (Check(name=Reason.UNCHECKED, passed=False, note=str(error)),)


def contents(
    first: Content, second: Content, embed: Callable[[list[str]], Vectors] | None = None
) -> float:
    """Return how far two answers agree, as `agreement.contents` does.

    Long answers are compared by their words even if there is an encoder. If that is stopped at its
    budget, the answers do not agree.

    Raises:
        Exception: Whatever `embed` raises; `Lost` if the job was cancelled meanwhile.
    """
    if _size(first) + _size(second) <= MAX_CHARS:
        return agreement.contents(first, second, embed)
    try:
        return call(agreement.contents, first, second)
    except OverBudget:
        return 0.0


def is_quick(job: Job, content: Content) -> bool:
    """Return whether the checks surely take some milliseconds at most."""
    match job.request, content:
        case (Classify() | Decide() | Embed(), _):
            return True  # a look at each label, option or number
        case Extract(text=text, schema_=schema), Extraction(data=data):
            return (
                _is_short(text)
                and weight(schema, MAX_OPTIONS) <= MAX_OPTIONS
                and len(text) * weight(data, MAX_LOOKUPS // len(text)) <= MAX_LOOKUPS
                and is_cheap(schema, data)
            )
        case Summarize(text=text), Summary(text=answer):
            return _is_short(text, answer)
        case Generate(regex=None, schema_=None), Generation(text=answer):
            return len(answer) <= MAX_CHARS
        case (Generate(), Generation()):
            return False
        case _:
            return True  # an answer of another kind


def _is_short(*texts: str) -> bool:
    """Return whether texts are short together, and hold few numbers."""
    return (
        sum(map(len, texts)) <= MAX_CHARS
        and sum(char.isnumeric() for text in texts for char in text) <= MAX_NUMERALS
    )


def _size(content: Content) -> int:
    """Return roughly how many characters a content has."""
    match content:
        case Summary(text=text) | Generation(text=text):
            return len(text)
        case Extraction(data=data):
            return 64 * weight(data, MAX_CHARS)
        case _:
            return 0
