"""Reads a folder of text files: one row a file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from forebay.producers.bulk.names import shown
from forebay.producers.bulk.rows import START, BadRow, Position, RawRow
from forebay.producers.bulk.sources.source import Source
from forebay.producers.bulk.streams import fingerprint
from forebay.producers.bulk.streams.fingerprint import Fingerprint
from forebay.producers.bulk.streams.inputs import readable
from forebay.producers.bulk.streams.lines import MAX_ROW_BYTES
from forebay.routing.errors import InvalidJob


class FolderSource(Source):
    """The files of a folder and of its folders, in the order of their names.

    Hidden files and folders are left out, and links to folders are not followed. Each row has the
    columns `file`, the name from the folder on, and `text`.
    """

    key_column = "file"

    def __init__(self, folder: Path) -> None:
        super().__init__(shown(folder))
        self._folder = folder
        self._size: int | None = None

    def columns(self) -> tuple[str, ...]:
        """Return the two columns."""
        return ("file", "text")

    def rows(
        self,
        start: Position = START,
        *,
        columns: Collection[str] | None = None,  # noqa: ARG002 - there are only two
    ) -> Iterator[RawRow | BadRow]:
        """Yield the rows after a position."""
        number, offset = 0, start.offset
        for number, path in enumerate(self._files(), start=1):
            if number > start.row:
                row = self._row(path, number, offset)
                offset = row.end.offset
                yield row
        if not number:
            raise InvalidJob("has no files: it must have at least one", field=self.name)

    def file_of(self, row: RawRow) -> str:
        """Return the path of the row's own file."""
        return shown(self._folder / row.fields["file"])

    def size(self) -> int:
        """Return how many bytes all files have."""
        if self._size is None:
            self._size = sum(path.stat().st_size for path in self._files())
        return self._size

    def fingerprint(self) -> Fingerprint:
        """Return what the names, sizes and contents of all files were like."""
        content, listing = hashlib.sha256(), hashlib.sha256()
        size = latest = count = 0
        with readable(self.name):
            for path in self._files():
                each = fingerprint.of_file(path)
                content.update(self._entry(path, each.digest))
                listing.update(self._entry(path, each.size, each.modified_ns))
                size, latest, count = size + each.size, max(latest, each.modified_ns), count + 1
        return Fingerprint(size, content.hexdigest(), latest, count, listing.hexdigest())

    def changed_since(self, then: Fingerprint) -> str | None:
        """Return how the folder differs, or `None`; contents are read only if a time differs."""
        listing = hashlib.sha256()
        size = count = 0
        with readable(self.name):
            for path in self._files():
                stat = path.stat()
                listing.update(self._entry(path, stat.st_size, stat.st_mtime_ns))
                size, count = size + stat.st_size, count + 1
        if listing.hexdigest() == then.listing:
            return None
        if count != then.files:
            return f"{self.name} has {count:,} files, it had {then.files:,}"
        if size != then.size:
            return f"the files in {self.name} have {size:,} bytes, they had {then.size:,}"
        if self.fingerprint().digest == then.digest:
            return None
        return f"a file in {self.name} has another name or content"

    def _row(self, path: Path, number: int, offset: int) -> RawRow | BadRow:
        text, size = _text(path)
        end, name = Position(offset + size, number, number), self._name(path)
        if not isinstance(text, _Unreadable):
            return RawRow(number, 1, {"file": name, "text": text}, end)
        return BadRow(number, 1, "text", str(text), end, key=name, file=shown(path))

    def _name(self, path: Path) -> str:
        """Return a file's name from the folder on; bytes that are no UTF-8 are replaced."""
        name = str(path.relative_to(self._folder))
        return name.encode(errors="surrogateescape").decode(errors="replace")

    def _entry(self, path: Path, *known: object) -> bytes:
        """Return what is known of a file, so that no two lists of files look alike."""
        return repr((os.fsencode(path.relative_to(self._folder)), *known)).encode()

    def _files(self) -> Iterator[Path]:
        def refuse(error: OSError) -> None:
            raise error

        with readable(self.name):
            for folder, folders, names in os.walk(self._folder, onerror=refuse):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                for name in sorted(names):
                    path = Path(folder, name)
                    if not name.startswith(".") and path.is_file():
                        yield path


class _Unreadable(str):
    """Why a file is no row."""

    __slots__ = ()


def _text(path: Path) -> tuple[str, int]:
    """Return the text of a file, or as `_Unreadable` why it has none; and the size of the file."""
    try:
        with path.open("rb") as file:
            return _decoded(file.read(MAX_ROW_BYTES + 1)), os.fstat(file.fileno()).st_size
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "failed"
        return _Unreadable(f"the file cannot be read: {reason}"), 0


def _decoded(data: bytes) -> str:
    if len(data) > MAX_ROW_BYTES:
        return _Unreadable(f"the file is longer than {MAX_ROW_BYTES:,} bytes: split it")
    if b"\0" in data:
        return _Unreadable("the file has a NUL character: it is no text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return _Unreadable(f"the file is not UTF-8 text, at byte {error.start + 1:,}")
