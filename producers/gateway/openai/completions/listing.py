"""A page of the stored chat completions of a tenant, of one model or with some metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from starlette.datastructures import QueryParams

from forebay.producers.gateway.access import Caller
from forebay.producers.gateway.errors import InvalidRequest
from forebay.producers.gateway.files.paging import begin_after
from forebay.producers.gateway.openai.completions import stored
from forebay.producers.gateway.openai.completions.stored import StoredChat
from forebay.producers.gateway.openai.replies import completion_id
from forebay.routing.jobs import Answer

READ_AT_ONCE = 50  # completions that are read in one round trip
_METADATA = re.compile(r"metadata\[(.{1,64})\]", re.DOTALL)

Found = tuple[StoredChat, list[Answer]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which completions are listed.

    Attributes:
        model: as the caller named it, or as it answered; empty for all.
        metadata: entries that they have.
    """

    model: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, model: str, query: QueryParams) -> Wanted:
        """Return what a query asks for: `metadata[KEY]=VALUE` for each entry.

        Raises:
            InvalidRequest: A parameter about metadata has another form.
        """
        metadata = {}
        for name, value in query.items():
            if name.startswith("metadata"):
                match = _METADATA.fullmatch(name)
                if not match:
                    raise InvalidRequest("must be metadata[KEY]=VALUE", field="metadata")
                metadata[match[1]] = value
        return cls(model, metadata)

    def asked(self, chat: StoredChat) -> bool:
        """Return whether a completion has the metadata."""
        return self.metadata.items() <= (chat.body.metadata or {}).items()

    def answered(self, chat: StoredChat, answers: Sequence[Answer]) -> bool:
        """Return whether a completion is of the model."""
        return self.model in {"", chat.body.model, answers[0].model}


def page(
    by: Caller, wanted: Wanted, after: str, limit: int, *, newest_first: bool
) -> tuple[list[Found], bool]:
    """Return the completions after one of this id, and whether there are more.

    Raises:
        InvalidRequest: There is no completion of this id in the list.
    """
    listed = stored.completions(by.gateway).job_ids(by.tenant)
    if newest_first:
        listed.reverse()
    job_ids = listed[begin_after([*map(completion_id, listed)], after) :]
    found: list[Found] = []
    for start in range(0, len(job_ids), READ_AT_ONCE):
        found += _matching(by, wanted, job_ids[start : start + READ_AT_ONCE])
        if len(found) > limit:
            break
    return found[:limit], len(found) > limit


def _matching(by: Caller, wanted: Wanted, job_ids: Sequence[str]) -> list[Found]:
    """Return those of the completions that are wanted; take those that are gone off the list."""
    chats = dict(zip(job_ids, stored.read_all(by, job_ids), strict=True))
    gone = [job_id for job_id, chat in chats.items() if chat is None]
    stored.completions(by.gateway).remove(by.tenant, gone)
    asked = [chat for chat in chats.values() if chat and wanted.asked(chat)]
    return [
        (chat, answers)
        for chat, answers in zip(asked, stored.answers_to(by, asked), strict=True)
        if answers and wanted.answered(chat, answers)
    ]
