"""The answers that a test wants of the model: rules by kind of request, the newest first."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from forebay.routing.base import FrozenModel
from forebay.routing.errors import BadAnswer, ForebayError, InvalidJob
from forebay.routing.questions.decisions import Decisions
from forebay.routing.receipts import (
    Classification,
    Embedding,
    Extraction,
    Generation,
    Summary,
)
from forebay.routing.requests import (
    AnyRequest,
    Classify,
    Decide,
    Embed,
    Extract,
    Generate,
    Summarize,
)

#: What answers a request: a content, or an error in its place.
Reply = FrozenModel | ForebayError

LANES = ("local", "bedrock")

_CONTENT_OF: dict[type[FrozenModel], type[FrozenModel]] = {
    Classify: Classification,
    Extract: Extraction,
    Summarize: Summary,
    Generate: Generation,
    Embed: Embedding,
    Decide: Decisions,
}
_FIELDS_OF_CONTENT = {
    "classify": "label=...", "extract": "data=...", "summarize": "text=...", "generate": "text=...",
    "decide": "answers=[...]",
}  # fmt: skip


class NotScripted(LookupError):
    """No rule answers a request, and its schema or regular expression has no simple answer."""

    def __init__(self, request: AnyRequest) -> None:
        kind, fields = type(request).__name__, _FIELDS_OF_CONTENT.get(request.kind, "...")
        super().__init__(
            f"no simple answer fits the schema or regex of this {kind} request: "
            f"script an answer with fleet.answer({kind}, {fields})"
        )


@dataclass
class Rule:
    """One line of the script.

    Attributes:
        kind: the class of the requests that it answers.
        reply: makes the reply to a request.
        when: further says which requests it answers.
        times: how many requests it still answers; `None` for any number.
        lane: the lane in which it answers; `None` for both.
    """

    kind: type[FrozenModel]
    reply: Callable[[Any], Any]
    when: Callable[[Any], bool] | None = None
    times: int | None = None
    lane: str | None = None

    def __post_init__(self) -> None:
        check_kind(self.kind)
        check_lane(self.lane)
        if self.kind is Embed and self.lane == "bedrock":
            raise ValueError("lane: requests of Embed are always answered locally")
        if self.times is not None and self.times < 1:
            raise ValueError("times: must be at least 1")
        for function in (self.reply, self.when):
            if inspect.iscoroutinefunction(function):
                raise TypeError("a script's functions are called by threads: no `async def`")


class Script:
    """The rules of a fleet. Safe to share between threads.

    Attributes:
        requests: the requests that were worked so far and their lanes, in the order in which a
            model was asked; a request that was tried again is there again.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[AnyRequest, str]] = []
        self._mistakes: list[BaseException] = []
        self._rules: list[Rule] = []
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Forget the rules, the requests and the mistakes."""
        with self._lock:
            self._rules.clear()
            self.requests.clear()
            self._mistakes.clear()

    def add(self, rule: Rule) -> None:
        """Add a rule; it goes before the rules that are there."""
        with self._lock:
            self._rules.insert(0, rule)

    def mistake(self, error: BaseException) -> BadAnswer:
        """Record a mistake of the test, and return the error that ends the job."""
        with self._lock:
            self._mistakes.append(error)
        return BadAnswer(f"the script raised {type(error).__name__}")

    def raise_mistake(self, after: BaseException | None = None) -> None:
        """Raise the first mistake, if there is one.

        Args:
            after: the error of the test that the mistake led to; it is shown with the mistake.
        """
        if self._mistakes:
            first = self._mistakes[0]
            raise first from first.__cause__ or after

    def reply(self, request: AnyRequest, lane: str) -> Reply | None:
        """Return the reply to a request in a lane; `None` if no rule answers it."""
        with self._lock:
            self.requests.append((request, lane))
        try:
            rule = self._take(request, lane)
            return None if rule is None else _reply(request, rule.reply(request))
        except ForebayError as error:
            if type(error) is not InvalidJob:
                return error
            # Most likely a content with a wrong field. A script that wants this error returns it.
            wrong = TypeError(f"the script's answer to {request.kind}: {error}")
            wrong.__cause__ = error
            return self.mistake(wrong)
        except BaseException as error:  # noqa: BLE001 - the test's own, as of pytest.fail; raised at the end
            return self.mistake(error)

    def _take(self, request: AnyRequest, lane: str) -> Rule | None:
        """Return the first rule that answers the request, and count its use."""
        with self._lock:
            rules = [rule for rule in self._rules if isinstance(request, rule.kind)]
        for rule in rules:
            if rule.lane not in (None, lane):
                continue
            if rule.when is not None and not rule.when(request):
                continue
            with self._lock:
                if rule.times == 0:
                    continue
                if rule.times is not None:
                    rule.times -= 1
            return rule
        return None


def content(kind: type[FrozenModel], fields: Mapping[str, Any]) -> FrozenModel:
    """Return the content that answers this kind of request, made of its fields.

    A pydantic model as the `data` of an `Extraction` stands for its JSON object.

    Raises:
        TypeError: `kind` is not the class of a request, or the content cannot be written as JSON.
        InvalidJob: A field of the content is wrong.
    """
    check_kind(kind)
    data = fields.get("data")
    if isinstance(data, BaseModel):
        fields = {**fields, "data": data.model_dump(mode="json", by_alias=True)}
    return _as_json(_CONTENT_OF[kind](**fields))


def constant(kind: type[FrozenModel], reply: object) -> FrozenModel:
    """Return a reply that is the same for all requests as a content of this kind.

    Raises:
        TypeError: The reply answers another kind, or is no content.
        InvalidJob: A field of the content is wrong.
    """
    check_kind(kind)
    if isinstance(reply, Mapping):
        return content(kind, reply)
    if isinstance(reply, _CONTENT_OF[kind]):
        return _as_json(reply)
    wanted = _CONTENT_OF[kind].__name__
    hint = "; errors are for fleet.fail" if _is_error(reply) else ""
    raise TypeError(f"{kind.__name__} is answered with a {wanted}, not {reply!r}{hint}")


def check_kind(kind: type[FrozenModel]) -> None:
    """Raise `TypeError` if this is not the class of a request."""
    if kind not in _CONTENT_OF:
        raise TypeError(f"{kind!r} is not a class of requests, such as forebay.Classify")


def check_lane(lane: str | None) -> None:
    """Raise `ValueError` if there is no such lane; `None` stands for both."""
    if lane is not None and lane not in LANES:
        raise ValueError(f"lane: must be one of {', '.join(LANES)}, not {lane!r}")


def _as_json(reply: FrozenModel) -> FrozenModel:
    """Return the content if it can be written as JSON, as a model would write it."""
    try:
        reply.model_dump(mode="json")
    except ValueError as error:
        raise TypeError(f"the content cannot be written as JSON: {error}") from None
    return reply


def _is_error(reply: object) -> bool:
    return isinstance(reply, BaseException) or (
        isinstance(reply, type) and issubclass(reply, BaseException)
    )


def _reply(request: AnyRequest, reply: Any) -> Reply:
    """Return what a rule gave as a content or an error; a dictionary holds a content's fields."""
    if isinstance(reply, Mapping):
        try:
            return content(type(request), reply)
        except InvalidJob as error:  # a mistake of the script, not an error that it wants
            raise TypeError(f"the script's answer to {request.kind}: {error}") from None
    if isinstance(reply, type) and issubclass(reply, ForebayError):
        return reply("scripted")
    if isinstance(reply, ForebayError):
        return reply
    wanted = _CONTENT_OF[type(request)]
    if not isinstance(reply, wanted):
        raise TypeError(
            f"a script must answer {request.kind} with a {wanted.__name__}, not {reply!r}"
        )
    return _as_json(reply)
