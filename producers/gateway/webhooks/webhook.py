"""The record of a webhook: where a tenant is told of what, and the secret that signs it."""

from __future__ import annotations

import base64
import secrets
from datetime import datetime
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from forebay.routing.base import FrozenModel, Tenant, is_none

EventType = Literal[
    "job.done", "job.failed", "job.cancelled", "job.expired",
    "bulk.done", "bulk.incomplete", "bulk.cancelled", "bulk.failed",
    "batch.completed", "batch.failed", "batch.expired", "batch.cancelled",
    "response.completed", "response.failed", "response.cancelled",
    "webhook.test",
]  # fmt: skip
EVENT_TYPES: tuple[EventType, ...] = get_args(EventType)
#: A `response.*` event says the same of a job as a `job.*` event, in the words of OpenAI's clients.
USUAL_EVENTS = tuple(name for name in EVENT_TYPES if name.startswith(("job.", "bulk.", "batch.")))
MAX_URL_CHARS = 2_000
SECRET_BYTES = 32


def checked_url(url: str) -> str:
    """Return a URL that a webhook may have; whether its address may be called is seen later."""
    wrong = _wrong_with(url)
    if wrong:
        raise PydanticCustomError("url", "{wrong}", {"wrong": wrong})
    return url


def _wrong_with(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "must be a URL"
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "must be a URL that begins with https://"
    if parts.username is not None or parts.password is not None:
        return "must have no user and no password: they would stand in records"
    if parts.fragment or not url.isascii() or not url.isprintable() or " " in url:
        return "must be a plain URL, with no fragment, blanks or letters that are not ASCII"
    return "must not name port 0" if port == 0 else ""


class Webhook(FrozenModel):
    """The record of one webhook.

    Attributes:
        id: names the webhook.
        tenant: whose ends it is told of.
        url: where events are posted.
        events: the types of events that it is told of.
        content: events of jobs that may leave the building hold the answer.
        secret: what signs the events, sealed as contents are, in base64.
        old_secret, old_until: after a rotation, the secret before, which signs until then too.
        created: when it was made.
        disabled: when its receiver said `410 Gone`; it is told of nothing since.
    """

    id: Annotated[str, StringConstraints(pattern=r"^wh_[0-9a-f]{16}$")]
    tenant: Tenant
    url: Annotated[str, StringConstraints(max_length=MAX_URL_CHARS), AfterValidator(checked_url)]
    events: tuple[EventType, ...] = Field(USUAL_EVENTS, min_length=1)
    content: bool = False
    secret: str = Field(repr=False)
    created: datetime
    disabled: datetime | None = None
    old_secret: Annotated[str | None, Field(repr=False, exclude_if=is_none)] = None
    old_until: Annotated[datetime | None, Field(exclude_if=is_none)] = None

    def public(self) -> dict[str, Any]:
        """Return what may be shown of the webhook."""
        return self.model_dump(mode="json", exclude={"secret", "old_secret", "old_until"})


def new_secret() -> str:
    """Return a secret in the form of the Standard Webhooks scheme."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}"
