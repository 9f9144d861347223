"""Stored chat completions: what each was asked, and the jobs that answered it.

What was asked is kept with the first job; the answers are those of the jobs.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from forebay.producers.gateway.access import Caller
from forebay.producers.gateway.gateway import Gateway
from forebay.producers.gateway.openai import kept
from forebay.producers.gateway.openai.chat_request import ChatRequest
from forebay.producers.gateway.openai.completions.completion_list import CompletionList
from forebay.routing.errors import ForebayError, NotFound
from forebay.routing.jobs import Answer
from forebay.routing.ledger.ledger import Ledger

T = TypeVar("T")
_ID = re.compile(r"chatcmpl-([0-9a-f]{32})")


@dataclass(frozen=True, slots=True)
class StoredChat:
    """A chat completion that is stored.

    Attributes:
        job_ids: the jobs that answered, one for each choice.
        created: seconds since 1970.
        sent: the body as its caller sent it.
        body: the same, read.
    """

    job_ids: Sequence[str]
    created: int
    sent: Mapping[str, Any] = field(repr=False)
    body: ChatRequest = field(repr=False)

    @classmethod
    def read(cls, note: bytes | None, tenant: str) -> Self | None:
        """Return the completion that was kept so; `None` if there is none that can be read."""
        try:
            stored = from_json(note or b"")
            ids = [f"{tenant}.{name}" for name in stored["completion"]]
            body = ChatRequest.model_validate(stored["body"])
            return cls(ids, int(stored["created"]), stored["body"], body)
        except (ValueError, KeyError, TypeError, ValidationError):
            return None

    def note(self) -> bytes:
        """Return what is kept of it."""
        names = [job_id.partition(".")[2] for job_id in self.job_ids]
        return to_json({"completion": names, "created": self.created, "body": self.sent})

    def with_metadata(self, metadata: Mapping[str, str]) -> StoredChat:
        """Return the completion with other metadata."""
        sent = {**self.sent, "metadata": dict(metadata)}
        return StoredChat(self.job_ids, self.created, sent, ChatRequest.model_validate(sent))


async def store(by: Caller, sent: bytes, body: ChatRequest, job_ids: Sequence[str]) -> None:
    """Store a chat completion. If that fails, it is answered all the same, and the log says so."""
    now = time.time()
    chat = StoredChat(job_ids, int(now), from_json(sent), body)
    if await kept.keep(by, job_ids[0], chat.note()):
        listed = completions(by.gateway)
        with suppress(ForebayError):  # it can be retrieved by its id
            await by.gateway.on_thread(listed.add, job_ids[0], int(now * 1000))


def find(by: Caller, completion_id: str) -> StoredChat:
    """Return a stored completion of the caller's tenant.

    Raises:
        NotFound: There is none.
    """
    match = _ID.fullmatch(completion_id)
    if match:
        job_id = f"{by.tenant}.{match[1]}"
        (note,) = kept.read_kept(by.gateway.place_of(job_id), [job_id])
        if chat := StoredChat.read(note, by.tenant):
            return chat
    raise NotFound("there is no such stored completion", field="completion_id")


def read_all(by: Caller, job_ids: Sequence[str]) -> list[StoredChat | None]:
    """Return the completions whose first jobs these are; `None` in place of one that is gone."""
    notes = _everywhere(by.gateway, job_ids, kept.read_kept)
    return [StoredChat.read(notes[job_id], by.tenant) for job_id in job_ids]


def answers_to(by: Caller, chats: Sequence[StoredChat]) -> list[list[Answer] | None]:
    """Return the answers to completions; `None` for one that has not all of them."""
    job_ids = [job_id for chat in chats for job_id in chat.job_ids]
    results = _everywhere(by.gateway, job_ids, lambda ledger, own: ledger.results(own))
    found: list[list[Answer] | None] = []
    for chat in chats:
        answers = [one for each in chat.job_ids if isinstance(one := results[each], Answer)]
        found.append(answers if len(answers) == len(chat.job_ids) else None)
    return found


def change(by: Caller, chat: StoredChat) -> None:
    """Keep a completion as it is now. Raises `NotFound` if it is gone."""
    first = chat.job_ids[0]
    if not kept.change_kept(by.gateway.place_of(first), first, chat.note()):
        raise NotFound("there is no such stored completion", field="completion_id")


def completions(gateway: Gateway) -> CompletionList:
    """Return the list of stored completions."""
    return CompletionList(gateway.redis, gateway.ledger.settings.retention_s)


def _everywhere(
    gateway: Gateway, job_ids: Sequence[str], ask: Callable[[Ledger, Sequence[str]], Sequence[T]]
) -> dict[str, T]:
    """Ask each ledger about the jobs that it holds; return the replies by job."""
    places: defaultdict[Ledger, list[str]] = defaultdict(list)
    for job_id in job_ids:
        places[gateway.place_of(job_id)].append(job_id)
    replies: dict[str, T] = {}
    for ledger, own in places.items():
        replies |= zip(own, ask(ledger, own), strict=True)
    return replies
