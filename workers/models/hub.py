"""One file from the Hugging Face hub: resumed where it broke off, checked, only then named.

Plain HTTP and no library: a pinned file is one GET, and the digest that the caller brings decides
whether it is the right one, whatever proxy, mirror or redirect it came through.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import quote

from forebay.routing.errors import ForebayError, Misconfigured, Unavailable

HUB = "https://huggingface.co"
CHUNK = 1 << 20
TRIES = 5  # in a row without a single byte
PAUSE_S = 1.0
TIMEOUT_S = 30.0
DISK_RESERVE_BYTES = 64 << 20  # bytes of the disk that are left alone

Reply = http.client.HTTPResponse | urllib.error.HTTPError

_CUT = (
    urllib.error.URLError, ConnectionError, TimeoutError, ssl.SSLError, http.client.HTTPException,
)  # fmt: skip

#: Hears bytes so far and in all, where the hub says how many those are.
Report = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class Pinned:
    """A file of the hub that can be no other: by commit and by SHA-256.

    Attributes:
        repo: `owner/name`.
        file: path in the repository.
        revision: commit, 40 hex digits.
        sha256: of the whole file, 64 hex digits, lower case.
        size: bytes, where known before.
    """

    repo: str
    file: str
    revision: str
    sha256: str
    size: int | None = None

    def url(self) -> str:
        """Where it is, at the hub or at the mirror in HF_ENDPOINT."""
        endpoint = os.environ.get("HF_ENDPOINT") or HUB
        if not re.match(r"https?://[^/]", endpoint):
            raise Misconfigured("must be an http:// or https:// address", field="HF_ENDPOINT")
        path = quote(f"{self.repo}/resolve/{self.revision}/{self.file}")
        return f"{endpoint.rstrip('/')}/{path}"


def fetch(pinned: Pinned, target: Path, report: Report = lambda _so_far, _total: None) -> None:
    """Bring the file to `target`; a file that is there and right is left alone.

    What was downloaded before a failure is kept beside it and taken up the next time.

    Raises:
        Misconfigured: No such file, no access, no room, or another download is under way.
        Unavailable: The hub cannot be reached, or what came has another digest (and is deleted).
    """
    if target.exists() and sha256(target) == pinned.sha256:
        return
    part = target.with_name(f".{pinned.sha256}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(part):
            _download(pinned, part, report)
            _name(pinned, part, target)
    except OSError as error:
        message = f"cannot be written to: {error.strerror or type(error).__name__}"
        raise Misconfigured(message, field=str(target.parent)) from None


def _name(pinned: Pinned, part: Path, target: Path) -> None:
    found = sha256(part)
    if found != pinned.sha256:
        part.unlink()
        message = f"what came has the SHA-256 {found}, not {pinned.sha256}; it was deleted"
        raise Unavailable(message, field="sha256")
    digest_file(target).write_text(f"{pinned.sha256}  {target.name}\n")
    part.replace(target)


def sha256(path: Path) -> str:
    """Of a whole file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_file(path: Path) -> Path:
    """Where the digest of a file is kept, as `sha256sum -c` reads it."""
    return path.with_name(f"{path.name}.sha256")


@contextmanager
def _alone(part: Path) -> Iterator[None]:
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Misconfigured("is being downloaded already", field="NAME") from None
        yield


def _download(pinned: Pinned, part: Path, report: Report) -> None:
    """Until it is whole; goes on after a cut connection, as long as each try brings something."""
    idle = 0
    while True:
        before = part.stat().st_size
        try:
            if _stream(pinned, part, report):
                return
            error: ForebayError = Unavailable(f"the connection was cut; {_again(part)}")
        except Unavailable as passing:
            error = passing
        idle = 0 if part.stat().st_size > before else idle + 1
        if idle >= TRIES:
            raise error
        time.sleep(PAUSE_S)


def _stream(pinned: Pinned, part: Path, report: Report) -> bool:
    """One request for what is missing. Returns whether the file is whole now."""
    so_far = part.stat().st_size
    if pinned.size is not None and so_far >= pinned.size:
        return True  # whole or too long: the digest tells
    with _reaching(pinned, part), _open(pinned.url(), so_far) as reply:
        if reply.status == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return True  # nothing is missing: the digest tells
        total = _total(reply)
        if reply.status != http.HTTPStatus.PARTIAL_CONTENT:
            so_far = 0  # this server does not resume
        _fits(pinned, part, so_far, total)
        with part.open("r+b") as file:
            file.truncate(so_far)
            file.seek(so_far)
            while block := reply.read(CHUNK):
                so_far += file.write(block)
                report(so_far, total)
            file.flush()
            os.fsync(file.fileno())
    return total is None or so_far >= total


def _open(url: str, start: int) -> Reply:
    headers = {"User-Agent": "forebay", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - `Pinned.url` checks it
    try:
        # An opener of its own: the shared one keeps the proxies of its first call for ever.
        return cast("Reply", urllib.request.build_opener().open(request, timeout=TIMEOUT_S))
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        return error


def _total(reply: Reply) -> int | None:
    _, _, of = reply.headers.get("Content-Range", "").rpartition("/")
    length = of or reply.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _fits(pinned: Pinned, part: Path, so_far: int, total: int | None) -> None:
    if total is None:
        return
    if pinned.size is not None and total != pinned.size:
        raise Misconfigured(f"the hub has {total} bytes for it, not {pinned.size}", field="size")
    free = shutil.disk_usage(part.parent).free
    if total - so_far > free - DISK_RESERVE_BYTES:
        message = f"has room for {free >> 20} MiB, {(total - so_far) >> 20} MiB are missing"
        raise Misconfigured(message, field=str(part.parent))


@contextmanager
def _reaching(pinned: Pinned, part: Path) -> Iterator[None]:
    """Map what urllib raises, once."""
    where = f"{pinned.repo}/{pinned.file} at {pinned.revision[:12]}"
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.NOT_FOUND:
            raise Misconfigured(f"the hub has no {where}", field="NAME") from None
        if error.code in {http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN}:
            hint = "download it by hand and set FOREBAY_MODEL_FILE"
            raise Misconfigured(
                f"the hub wants a login for {where}; {hint}", field="NAME"
            ) from None
        raise Unavailable(f"the hub answered {error.code}; {_again(part)}") from None
    except _CUT as error:
        reason = getattr(error, "reason", error)
        name = type(reason if isinstance(reason, BaseException) else error).__name__
        raise Unavailable(f"the hub cannot be reached ({name}); {_again(part)}") from None


def _again(part: Path) -> str:
    return f"the same command goes on after the {part.stat().st_size >> 20} MiB that are here"
