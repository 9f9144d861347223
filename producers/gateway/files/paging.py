"""Pages of a list, from a cursor: the id of the last item of the page before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from forebay.producers.gateway.errors import InvalidRequest

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Consecutive items of a list.

    Attributes:
        items: the items.
        more: there are items after them.
        first_id, last_id: the ids of the outer items; `None` for an empty page.
    """

    items: Sequence[T]
    more: bool
    first_id: str | None
    last_id: str | None

    def listed(self, data: list[Any]) -> dict[str, Any]:
        """Return the page in the form in which OpenAI's clients read lists."""
        return {"object": "list", **self.bare(data)}

    def bare(self, data: list[Any]) -> dict[str, Any]:
        """Return the page in the form in which Anthropic's clients read lists."""
        return {
            "data": data, "has_more": self.more, "first_id": self.first_id, "last_id": self.last_id,
        }  # fmt: skip


def page_of(
    items: Sequence[T],
    ids: Sequence[str],
    after: str,
    limit: int,
    *,
    before: str = "",
    field: str = "after",
) -> Page[T]:
    """Return the items after (or before) the one of this id; from the start if it is empty.

    Args:
        items: all of them.
        ids: their ids.
        after: the id of the item before the page.
        limit: the most items of the page.
        before: the id of the item after the page.
        field: how the wire format calls `after`.

    Raises:
        InvalidRequest: There is no item of this id.
    """
    begin = begin_after(ids, after, field)
    end = min(begin + limit, len(items))
    more = end < len(items)
    if before:
        end = _place(ids, before, "before_id")
        begin = max(0, end - limit)
        more = begin > 0
    return Page(
        items[begin:end], more, ids[begin] if end > begin else None,
        ids[end - 1] if end > begin else None,
    )  # fmt: skip


def begin_after(ids: Sequence[str], after: str, field: str = "after") -> int:
    """Return where the items after the one of this id begin; 0 if it is empty.

    Raises:
        InvalidRequest: There is no item of this id.
    """
    return _place(ids, after, field) + 1 if after else 0


def _place(ids: Sequence[str], wanted: str, field: str) -> int:
    try:
        return ids.index(wanted)
    except ValueError:
        raise InvalidRequest("is not in the list", field=field) from None
