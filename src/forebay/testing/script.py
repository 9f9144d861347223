"""What a test wants the model to answer: rules by kind of request, the newest first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from forebay.routing.base import FrozenModel
from forebay.routing.errors import BadAnswer, ForebayError, InvalidJob
from forebay.routing.receipts import (
    Classification,
    Embedding,
    Extraction,
    Generation,
    Summary,
)
from forebay.routing.requests import AnyRequest, Classify, Embed, Extract, Generate, Summarize

#: What answers a request: a content, or an error in its place.
Reply = FrozenModel | ForebayError

_CONTENT_OF: dict[type[FrozenModel], type[FrozenModel]] = {
    Classify: Classification,
    Extract: Extraction,
    Summarize: Summary,
    Generate: Generation,
    Embed: Embedding,
}


@dataclass
class Rule:
    """One line of the script.

    Attributes:
        kind: the class of the requests that it answers.
        reply: makes the reply to a request.
        when: further says which requests it answers.
        times: how many requests it still answers; `None` for any number.
    """

    kind: type[FrozenModel]
    reply: Callable[[Any], Any]
    when: Callable[[Any], bool] | None
    times: int | None


class Script:
    """The rules of a fleet. Safe to share between threads.

    Attributes:
        requests: the requests that were worked so far, in the order in which work on them began;
            a request that was tried again is there again.
        errors: what the functions of the script raised.
    """

    def __init__(self) -> None:
        self.requests: list[AnyRequest] = []
        self.errors: list[Exception] = []
        self._rules: list[Rule] = []
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Forget the rules, the requests and the errors."""
        with self._lock:
            self._rules.clear()
            self.requests.clear()
            self.errors.clear()

    def add(self, rule: Rule) -> None:
        """Add a rule; it goes before the rules that are there.

        Raises:
            TypeError: `kind` is not the class of a request.
        """
        _check_kind(rule.kind)
        with self._lock:
            self._rules.insert(0, rule)

    def reply(self, request: AnyRequest) -> Reply | None:
        """Return the reply to a request; `None` if no rule answers it."""
        with self._lock:
            self.requests.append(request)
        try:
            rule = self._take(request)
            return None if rule is None else _reply(request, rule.reply(request))
        except ForebayError as error:
            return error
        except Exception as error:  # noqa: BLE001 - the test's own; raised again at its end
            self.errors.append(error)
            return BadAnswer(f"the script raised {type(error).__name__}")

    def _take(self, request: AnyRequest) -> Rule | None:
        """Return the first rule that answers the request, and count its use."""
        with self._lock:
            rules = [rule for rule in self._rules if isinstance(request, rule.kind)]
        for rule in rules:
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
        TypeError: `kind` is not the class of a request.
        InvalidJob: A field of the content is wrong.
    """
    _check_kind(kind)
    data = fields.get("data")
    if isinstance(data, BaseModel):
        fields = {**fields, "data": data.model_dump(mode="json", by_alias=True)}
    return _CONTENT_OF[kind](**fields)


def _check_kind(kind: type[FrozenModel]) -> None:
    if kind not in _CONTENT_OF:
        raise TypeError(f"{kind!r} is not a class of requests, such as forebay.Classify")


def _reply(request: AnyRequest, reply: Any) -> Reply:
    """Return what a rule gave as a content or an error; a dictionary holds a content's fields."""
    if isinstance(reply, Mapping):
        try:
            return content(type(request), reply)
        except InvalidJob as error:  # a mistake of the script, not an error that it wants
            raise TypeError(f"the script's answer to {request.kind}: {error}") from None
    if isinstance(reply, ForebayError | _CONTENT_OF[type(request)]):
        return reply
    wanted = _CONTENT_OF[type(request)].__name__
    raise TypeError(f"a script must answer {request.kind} with a {wanted}, not {reply!r}")
