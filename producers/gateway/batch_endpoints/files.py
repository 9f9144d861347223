"""`/v1/files`: upload, list, read and delete files."""

from __future__ import annotations

import re
from contextlib import closing
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from typing_extensions import TypedDict

from forebay.producers.gateway.access import caller
from forebay.producers.gateway.batch_endpoints.upload import Upload, received
from forebay.producers.gateway.documents import documented
from forebay.producers.gateway.errors import InvalidRequest, NotSupported, RangeNotSatisfiable
from forebay.producers.gateway.files.file_store import StoredFile
from forebay.producers.gateway.files.paging import Page, page_of
from forebay.producers.gateway.wire import Body, respond

MAX_LISTED = 10_000
MIN_KEPT_S, MAX_KEPT_S = 3_600, 30 * 86_400  # of a file that says how long it is kept
JSONL = "application/jsonl"
_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-\d{1,18})(?:,.*)?")

router = APIRouter(prefix="/v1/files", tags=["Files"])


class FileUpload(Body):
    """The form of `POST /v1/files`."""

    file: Annotated[str, Field(json_schema_extra={"format": "binary"})]
    purpose: Literal["batch"]


class FileObject(TypedDict):
    """A file, as OpenAI's clients read it."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Literal["processed"]


class FileList(TypedDict):
    """A page of files, the newest first."""

    object: Literal["list"]
    data: list[FileObject]
    has_more: bool
    first_id: str | None
    last_id: str | None


class DeletedFile(TypedDict):
    """That a file is no more."""

    id: str
    object: Literal["file"]
    deleted: Literal[True]


@router.post("", **documented(FileUpload, FileObject, sent_as="multipart/form-data"))
async def upload_file(request: Request) -> Response:
    """Store a file for a batch or a bulk. It is written to the disk as it comes."""
    by = await caller(request, "submit")
    await by.spend(0)
    most = by.gateway.settings.gateway_max_file
    size = min(int(request.headers.get("content-length", most)), most)
    reservation = await by.gateway.on_thread(by.gateway.files.reserve, by.tenant, size)
    with closing(reservation):
        async with received(request, by) as upload:
            keep_s = _checked(upload)
            assert upload.path is not None
            file = await by.gateway.on_thread(
                by.gateway.files.add, by.tenant, upload.path, name=upload.name, purpose="batch",
                keep_s=keep_s,
            )  # fmt: skip
    return respond(file_object(file), by.headers)


@router.get("", **documented(None, FileList))
async def list_files(
    request: Request,
    after: str = "",
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = MAX_LISTED,
    order: Literal["asc", "desc"] = "desc",
    purpose: str = "",
) -> Response:
    """List the tenant's files, page by page."""
    by = await caller(request, "read")
    files = await by.gateway.on_thread(by.gateway.files.list, by.tenant)
    wanted = [file for file in files if purpose in {"", file.purpose}]
    if order == "asc":
        wanted.reverse()
    page: Page[StoredFile] = page_of(wanted, [file.id for file in wanted], after, limit)
    return respond(page.listed([file_object(file) for file in page.items]), {})


@router.get("/{file_id}", **documented(None, FileObject))
async def get_file(request: Request, file_id: str) -> Response:
    """Return what is known of a file."""
    by = await caller(request, "read")
    file = await by.gateway.on_thread(by.gateway.files.get, by.tenant, file_id)
    return respond(file_object(file), {})


@router.get("/{file_id}/content", **documented(None, None, media=[JSONL]))
async def get_file_content(request: Request, file_id: str) -> Response:
    """Return the content of a file."""
    by = await caller(request, "read")
    file = await by.gateway.on_thread(by.gateway.files.get, by.tenant, file_id)
    path = await by.gateway.on_thread(by.gateway.files.content, by.tenant, file_id)
    check_range(request, file.bytes)
    return FileResponse(path, media_type=JSONL, filename=file.name)


@router.delete("/{file_id}", **documented(None, DeletedFile))
async def delete_file(request: Request, file_id: str) -> Response:
    """Delete a file. A batch that was made of it goes on."""
    by = await caller(request, "admin")
    await by.gateway.on_thread(by.gateway.files.delete, by.tenant, file_id)
    return respond({"id": file_id, "object": "file", "deleted": True}, {})


def check_range(request: Request, size: int) -> None:
    """Have a response send the whole file if the request's range is none, as HTTP says.

    Raises:
        RangeNotSatisfiable: The file ends before the range.
    """
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    if match is None or (match[2] and int(match[1]) > int(match[2])):
        headers = request.scope["headers"]
        request.scope["headers"] = [each for each in headers if each[0] != b"range"]
    elif match[1] and int(match[1]) >= size:
        raise RangeNotSatisfiable(f"begins after the last of {size} bytes", field="range")


def file_object(file: StoredFile) -> FileObject:
    """Return a file as OpenAI's clients read it."""
    return {
        "id": file.id, "object": "file", "bytes": file.bytes, "created_at": int(file.created),
        "expires_at": int(file.expires), "filename": file.name, "purpose": file.purpose,
        "status": "processed",
    }  # fmt: skip


def _checked(upload: Upload) -> float | None:
    """Check the fields of the form; return how long the file is to be kept, if the form says so."""
    fields = dict(upload.fields)
    if upload.path is None:
        raise InvalidRequest("is missing, add it", field="file")
    purpose = fields.pop("purpose", "")
    if purpose != "batch":
        words = "must be batch: files are the inputs of batches and bulks"
        raise NotSupported(words, field="purpose")
    fields.pop("expires_after[anchor]", None)
    seconds = fields.pop("expires_after[seconds]", None)
    for name in fields:
        raise InvalidRequest("is not a field of this form", field=name[:60] or "body")
    return None if seconds is None else checked_seconds(seconds, "expires_after.seconds")


def checked_seconds(given: str | int, field: str) -> float:
    """Return how long a file is kept, if it may be so long."""
    text = str(given)
    if not text.isdecimal() or not MIN_KEPT_S <= int(text[:12]) <= MAX_KEPT_S:
        raise InvalidRequest(f"must be {MIN_KEPT_S} to {MAX_KEPT_S} seconds", field=field)
    return float(text)
