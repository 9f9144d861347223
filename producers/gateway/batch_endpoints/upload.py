"""Receives an upload: a form whose file goes to the disk as it comes, in constant memory."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from python_multipart import FormParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from forebay.producers.gateway.access import Caller
from forebay.producers.gateway.errors import InvalidRequest

MAX_FIELDS = 16
MAX_FIELD_BYTES = 4_096
_FORM = "multipart/form-data"
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # its warnings quote the body
_NO_FORM = "must be a form (multipart/form-data) with `file` and `purpose`"


@dataclass
class Upload:
    """A form that was received.

    Attributes:
        fields: its fields other than files.
        name: how the caller names the file.
        path: where the file is until it is taken over; empty without a file.
    """

    fields: dict[str, str] = field(default_factory=dict)
    name: str = ""
    path: Path | None = None
    _files: list[Any] = field(default_factory=list)

    def take_field(self, given: Any) -> None:
        """Take a field of the form."""
        self.fields[_text(given.field_name)] = _text(given.value or b"")

    def take_file(self, given: Any) -> None:
        """Take a file of the form; only the first that is called `file` counts."""
        self._files.append(given)
        if self.path is None and _text(given.field_name) == "file":
            given.flush_to_disk()
            given.file_object.flush()
            os.fsync(given.file_object.fileno())
            self.name = Path(_text(given.file_name)).name[:255] or "file"
            self.path = Path(os.fsdecode(given.actual_file_name))

    def close(self) -> None:
        """Remove the files that nobody has taken over."""
        for file in self._files:
            file.close()


@asynccontextmanager
async def received(request: Request, by: Caller) -> AsyncIterator[Upload]:
    """Receive a form; its files are there within this block.

    Raises:
        InvalidRequest: The body is no such form.
        BodyTooLarge: The body is larger than the limit.
        Unavailable: The disk is full.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind.decode("latin-1") != _FORM or not options.get(b"boundary"):
        raise InvalidRequest(_NO_FORM, field="body")
    upload, folder = Upload(), await by.gateway.on_thread(by.gateway.files.incoming)
    parser = FormParser(
        _FORM, upload.take_field, upload.take_file, boundary=options[b"boundary"],
        config={
            "UPLOAD_DIR": str(folder), "MAX_MEMORY_FILE_SIZE": 0, "MAX_FIELDS": MAX_FIELDS,
            "MAX_FIELD_SIZE": MAX_FIELD_BYTES,
        },
    )  # fmt: skip
    try:
        await _feed(request, by, parser)
        yield upload
    finally:
        parser.close()
        upload.close()


async def _feed(request: Request, by: Caller, parser: FormParser) -> None:
    try:
        with by.gateway.files.writing():
            async for chunk in request.stream():
                if chunk:
                    await by.gateway.on_thread(parser.write, chunk)
            await by.gateway.on_thread(parser.finalize)
    except FormParserError:
        raise InvalidRequest(_NO_FORM, field="body") from None


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")
