"""An ASGI application that reads a chat and answers at once: the floor that the server sets."""

from __future__ import annotations

from typing import Any

_BODY = b'{"object": "chat.completion", "choices": [{"message": {"content": "ok"}}]}'
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(_BODY)).encode())]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer every request in the same words."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _BODY})
