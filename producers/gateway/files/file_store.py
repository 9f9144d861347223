"""Files on the disk: the inputs of batches and bulks, and the outputs of batches.

A file is its content and a small record beside it. The record is written last, so that a file
exists for callers once it is whole.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from forebay.producers.gateway.files.room import Reservation, Room
from forebay.routing.errors import Misconfigured, NotFound, Unavailable

FILE_ID = re.compile(r"file-[0-9a-f]{32}")
ABANDONED_S = 86_400  # after which an upload that never ended is removed
_RECORD = ".json"
_CONTENT = ".content"
#: In a tenant's folder: its files, and the inputs of batches and bulks, which outlive a file.
_UPLOADED = (f"files/*{_CONTENT}", "batches/*/input*")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What is known of a file.

    Attributes:
        id: `file-` and 32 hexadecimal digits.
        name: how the caller names it.
        purpose: `batch` for an input, `batch_output` for an output.
        bytes: its size.
        created, expires: seconds since 1970.
    """

    id: str
    name: str
    purpose: str
    bytes: int
    created: float
    expires: float


class FileStore:
    """The files of all tenants under one folder. Safe to share between threads and processes.

    Args:
        root: the folder. Gateways that share it share their files and batches.
        max_bytes: of all files of one tenant together.
        keep_s: how long a file is kept, unless it says so itself.
    """

    def __init__(self, root: Path, *, max_bytes: int, keep_s: float) -> None:
        self._root = root
        self._max_bytes, self._keep_s = max_bytes, keep_s
        self._id = ""

    @property
    def id(self) -> str:
        """The name of this folder, the same for all processes that see it.

        Raises:
            Misconfigured: The folder cannot be written.
        """
        if not self._id:
            path = self._folder(self._root) / "store-id"
            with self.writing(), suppress(FileExistsError):
                self._write(path, secrets.token_hex(8).encode(), replace=False)
            with self.writing():
                self._id = path.read_text()
        return self._id

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn errors of the disk into ours in this block.

        Raises:
            Unavailable: The disk is full, or broken.
            Misconfigured: The folder cannot be written.
        """
        try:
            yield
        except (FileExistsError, FileNotFoundError):
            raise
        except PermissionError as error:
            raise _unusable(self._root, error) from None
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else "failed"
            raise Unavailable(f"the disk of the gateway's files fails: {reason}") from None

    def batch_folder(self, batch_id: str) -> Path:
        """Return the folder in which a batch or a bulk is worked; it is made if it is not there."""
        tenant, _, name = batch_id.partition(".")
        return self._folder(self._root / tenant / "batches" / name)

    def incoming(self) -> Path:
        """Return the folder of uploads that have not ended."""
        return self._folder(self._root / "incoming")

    def reserve(self, tenant: str, size: int) -> Reservation:
        """Reserve room for a file that is about to come; the reservation must be closed.

        Raises:
            BodyTooLarge: The files of the tenant would take too many bytes.
            Unavailable: The disk is full.
        """
        folder = self._folder(self._root / tenant / "coming")
        room = Room(folder, lambda: self._taken(tenant), self._max_bytes)
        with self.writing():
            return room.reserve(size)

    def add(
        self,
        tenant: str,
        content: Path,
        *,
        name: str,
        purpose: str,
        keep_s: float | None = None,
        file_id: str = "",
    ) -> StoredFile:
        """Take a file over, by a link to its content. The same id again replaces the file.

        Raises:
            Unavailable: The disk is full.
        """
        now = time.time()
        file = StoredFile(
            file_id or f"file-{secrets.token_hex(16)}", name, purpose, content.stat().st_size,
            now, now + (keep_s or self._keep_s),
        )  # fmt: skip
        with self.writing():
            path = self._path(tenant, file.id, _CONTENT)
            path.unlink(missing_ok=True)
            os.link(content, path)
            self._write(self._path(tenant, file.id, _RECORD), json.dumps(asdict(file)).encode())
        return file

    def get(self, tenant: str, file_id: str) -> StoredFile:
        """Return a file of a tenant.

        Raises:
            NotFound: There is no such file of this tenant here.
        """
        file = self._read(self._path(tenant, file_id, _RECORD)) if _is_id(file_id) else None
        if file is None:
            raise NotFound("there is no such file of this tenant here", field="file_id")
        return file

    def content(self, tenant: str, file_id: str) -> Path:
        """Return where the content of a file is. Raises `NotFound`."""
        self.get(tenant, file_id)
        return self._path(tenant, file_id, _CONTENT)

    def list(self, tenant: str) -> list[StoredFile]:
        """Return the files of a tenant, the newest first."""
        paths = self._folder(self._root / tenant / "files").glob(f"file-*{_RECORD}")
        files = [file for path in paths if (file := self._read(path))]
        return sorted(files, key=lambda file: (file.created, file.id), reverse=True)

    def delete(self, tenant: str, file_id: str) -> None:
        """Delete a file of a tenant. Raises `NotFound`."""
        self.get(tenant, file_id)
        self._path(tenant, file_id, _RECORD).unlink(missing_ok=True)
        self._path(tenant, file_id, _CONTENT).unlink(missing_ok=True)

    def clean(self, now: float) -> None:
        """Remove what has expired: files, uploads that never ended, folders of old batches."""
        for path in self._root.glob(f"*/files/file-*{_RECORD}"):
            file = self._load(path)
            if file is None or file.expires <= now:
                path.unlink(missing_ok=True)
                path.with_suffix(_CONTENT).unlink(missing_ok=True)
        for path in self.incoming().iterdir():
            if _age(path, now) > ABANDONED_S:
                path.unlink(missing_ok=True)
        for path in self._root.glob("*/batches/*"):
            if _age(path, now) > self._keep_s:
                shutil.rmtree(path, ignore_errors=True)

    def _taken(self, tenant: str) -> int:
        """Return the bytes of a tenant's files, and of inputs that only batches and bulks hold."""
        sizes: dict[int, int] = {}  # a file, and the link to it in a batch's folder, take room once
        for pattern in _UPLOADED:
            for path in (self._root / tenant).glob(pattern):
                with suppress(FileNotFoundError):  # it was deleted meanwhile
                    found = path.stat()
                    sizes[found.st_ino] = found.st_size
        return sum(sizes.values())

    def _path(self, tenant: str, file_id: str, suffix: str) -> Path:
        return self._folder(self._root / tenant / "files") / f"{file_id}{suffix}"

    def _folder(self, path: Path) -> Path:
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(self._root, error) from None
        return path

    def _read(self, path: Path) -> StoredFile | None:
        """Return a file that has not expired."""
        file = self._load(path)
        return file if file and file.expires > time.time() else None

    def _load(self, path: Path) -> StoredFile | None:
        try:
            return StoredFile(**json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def _write(self, path: Path, data: bytes, *, replace: bool = True) -> None:
        """Write a small file, all of it or nothing."""
        with NamedTemporaryFile(dir=self.incoming()) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if replace:
                path.unlink(missing_ok=True)
            os.link(file.name, path)


def _is_id(file_id: str) -> bool:
    return FILE_ID.fullmatch(file_id) is not None


def _age(path: Path, now: float) -> float:
    try:
        return now - path.stat().st_mtime
    except OSError:
        return 0.0


def _unusable(root: Path, error: OSError) -> Misconfigured:
    reason = os.strerror(error.errno) if error.errno else "failed"
    return Misconfigured(
        f"the folder {root} cannot be written: {reason}", field="FOREBAY_GATEWAY_FILES"
    )
