"""What an open page is sent: the parts of it that have changed, as server-sent events."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable

from forebay.producers.gateway.errors import Refusal
from forebay.producers.gateway.status.page import EVERY_S, StatusPage
from forebay.producers.gateway.status.rendering import html, partial
from forebay.producers.gateway.status.viewer import Viewer
from forebay.routing.errors import ForebayError

QUIET_S = 15.0  # after so long a sign of life is sent: each end notices if the other went away
CHECK_S = 5.0  # so often a stream asks whether its viewer is still signed in
ALIVE = b"event: alive\ndata: nothing has changed\n\n"
GONE = b"event: signed-out\ndata: sign in again\n\n"
ENDED = b"event: ended\ndata: nothing changes any more\n\n"

Parts = Callable[[], Awaitable[dict[str, str]]]


class Stream:
    """The stream of one open page. It ends when the viewer is signed out or the process ends.

    Args:
        page: the page.
        headers: of the request, which say who looks.
        parts: returns the HTML of each part, by the id of its place.
        over: returns whether nothing will change any more.
    """

    def __init__(
        self,
        page: StatusPage,
        still_in: Callable[[], Awaitable[Viewer]],
        parts: Parts,
        over: Callable[[], bool] = lambda: False,
    ) -> None:
        self._page, self._still_in, self._parts, self._over = page, still_in, parts, over
        self._sent: dict[str, str] = {}

    async def events(self) -> AsyncIterator[bytes]:
        """Yield events until the stream ends."""
        checked_at = spoke_at = time.monotonic()
        minute = 0
        while not self._page.closing.begun:
            if time.monotonic() - checked_at > CHECK_S:
                checked_at = time.monotonic()
                if not await self._is_in():
                    yield GONE
                    return
            if changed := await self._changed():
                yield message("".join(partial(name, text) for name, text in changed.items()))
            if self._over():
                yield ENDED
                return
            if (now := int(time.time() // 60)) != minute:
                minute = now
                yield f"event: minute\ndata: {minute}\n\n".encode()
            elif not changed and time.monotonic() - spoke_at > QUIET_S:
                yield ALIVE
                spoke_at = time.monotonic()
            elif changed:
                spoke_at = time.monotonic()
            await self._page.closing.wait(EVERY_S)

    async def _is_in(self) -> bool:
        try:
            await self._still_in()
        except Refusal:
            return False
        except ForebayError:  # Redis is away: the page says so, and nobody is signed out for it
            return True
        return True

    async def _changed(self) -> dict[str, str]:
        """Return the parts that differ from what was sent last; the notice says if all are old."""
        try:
            parts = {**await self._parts(), "notice": ""}
        except (ForebayError, Refusal) as error:
            parts = {"notice": html("parts/notice.html", words=str(error))}
        changed = {name: text for name, text in parts.items() if self._sent.get(name) != text}
        self._sent.update(changed)
        return changed


def message(text: str) -> bytes:
    """Return an event without a name, which htmx puts into the page."""
    return "".join(f"data: {line}\n" for line in text.splitlines()).encode() + b"\n"
