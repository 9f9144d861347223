"""Download a model: resume, check every byte, and only then give the model its name."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forebay.routing.errors import Misconfigured, Unavailable
from forebay.workers.models import hub
from forebay.workers.models.catalogue import Model
from forebay.workers.models.checksums import checksum_file, sha256, write_checksums
from forebay.workers.models.hub import RemoteFile, Snapshot

DISK_RESERVE_BYTES = 64 << 20  # bytes of the disk that stay free
_BLOCK_BYTES = 1 << 20


def pull_file(model: Model, *, quiet: bool = False) -> None:
    """Download a GGUF file to `model.path`; a file that is there and right is left alone.

    An interrupted download keeps its partial file, and the next call goes on from there.

    Raises:
        Misconfigured: The hub has no such file or refuses it, the disk has no room, or another
            download of the file is running.
        Unavailable: The hub cannot be reached, or the download has another digest and is deleted.
    """
    target = model.path
    if target.exists() and sha256(target) == model.sha256:
        return
    part = _part(target.parent, model.sha256)
    with _writing(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(part):
            remote = hub.find_file(model.repo, model.file, model.revision)
            _check_size(remote, model)
            _check_digest(remote, model.sha256)
            _check_room(target.parent, [(remote, part)])
            _download(remote, part, model.sha256, quiet=quiet)
            write_checksums(checksum_file(target), {target.name: model.sha256})
            part.replace(target)


def pull_folder(
    snapshot: Snapshot, target: Path, pinned: dict[str, str] | None = None, *, quiet: bool = False
) -> None:
    """Download a model folder to `target`; a folder that is there and right is left alone.

    Files are collected in a hidden folder, which gets its name once every file is checked. An
    interrupted download keeps that folder, and the next call goes on from there.

    Args:
        snapshot: the files to download.
        target: the folder to make.
        pinned: SHA-256 by name, from the model's entry in `models.lock`.
        quiet: show no progress bar, even on a terminal.

    Raises:
        Misconfigured: The pin or the folder that is there differs from the snapshot, the hub
            refuses a file, the disk has no room, or another download is running.
        Unavailable: The hub cannot be reached, or a file has another digest and is deleted.
    """
    expected = _expected(snapshot, pinned)
    if target.exists():
        _check_same(snapshot, target, expected)
        return
    folder = target.with_name(f".{target.name}.part")
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / ".lock"):
            missing = [file for file in snapshot.files if not _is_whole(folder, file, expected)]
            parts = {file: _part(folder, file.sha256 or str(file.blob_id)) for file in missing}
            _check_room(folder, list(parts.items()))
            for file, part in parts.items():
                part.touch()
                _download(file, part, expected.get(file.name), quiet=quiet)
                part.replace(folder / file.name)
            _finish(folder, target, snapshot, expected)


def _expected(snapshot: Snapshot, pinned: dict[str, str] | None) -> dict[str, str]:
    """Return the SHA-256 of each file that has one, by name: from the pin, or from the hub."""
    known = {file.name: file.sha256 for file in snapshot.files if file.sha256}
    if pinned is None:
        return known
    names = {file.name for file in snapshot.files}
    wrong = [name for name in known if pinned.get(name) != known[name]]
    differing = sorted(names.symmetric_difference(pinned).union(wrong))
    if differing:
        message = f"its pin differs from {snapshot.repo} at {snapshot.commit[:12]}"
        fix = "name the commit that was pinned, or remove the pin"
        raise Misconfigured(f"{message} ({', '.join(differing[:3])}); {fix}", field="models.lock")
    return pinned


def _check_same(snapshot: Snapshot, target: Path, expected: dict[str, str]) -> None:
    differing = [file.name for file in snapshot.files if not _is_whole(target, file, expected)]
    if differing:
        message = f"differs from {snapshot.repo} at {snapshot.commit[:12]}"
        fix = "delete the folder to download it again"
        raise Misconfigured(f"{message} ({', '.join(differing[:3])}); {fix}", field=str(target))


def _is_whole(folder: Path, file: RemoteFile, expected: dict[str, str]) -> bool:
    path = folder / file.name
    return path.is_file() and _digests_agree(path, file, expected.get(file.name))


def _digests_agree(path: Path, file: RemoteFile, digest: str | None) -> bool:
    """Compare a file with its SHA-256 or, if that is not known, with Git's digest of it."""
    if digest is not None:
        return sha256(path) == digest
    return _git_blob_id(path) == file.blob_id


def _git_blob_id(path: Path) -> str:
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _download(file: RemoteFile, part: Path, digest: str | None, *, quiet: bool) -> None:
    """Complete a partial file; delete it if the result has another digest."""
    hub.download(file, part, quiet=quiet)
    if _digests_agree(part, file, digest):
        return
    wanted = f"the SHA-256 {digest}" if digest else f"Git's digest {file.blob_id}"
    arrived = sha256(part)
    part.unlink()
    message = f"what arrived of {file.place} has the SHA-256 {arrived}, not {wanted}"
    raise Unavailable(f"{message}; it was deleted", field="sha256")


def _finish(folder: Path, target: Path, snapshot: Snapshot, checked: dict[str, str]) -> None:
    """Give a complete folder its name, without what earlier downloads left in it."""
    names = {file.name for file in snapshot.files}
    for path in folder.iterdir():
        if path.name not in names:
            path.unlink()
    files = {name: checked.get(name) or sha256(folder / name) for name in sorted(names)}
    write_checksums(checksum_file(folder), files)
    folder.rename(target)


def _part(folder: Path, digest: str) -> Path:
    """Return the partial file of a file with this digest: no other file is ever resumed from it."""
    return folder / f".{digest}.part"


def _check_size(remote: RemoteFile, model: Model) -> None:
    if None not in {model.size, remote.size} and remote.size != model.size:
        message = f"the hub's file has {remote.size} bytes, not {model.size}"
        raise Misconfigured(message, field="size")


def _check_digest(remote: RemoteFile, digest: str) -> None:
    if remote.sha256 not in {None, digest}:
        message = f"the hub's file has the SHA-256 {remote.sha256}, not {digest}"
        raise Misconfigured(message, field="sha256")


def _check_room(folder: Path, parts: list[tuple[RemoteFile, Path]]) -> None:
    """Check that the disk has room for what the partial files still lack."""
    missing = sum(
        (file.size or 0) - (part.stat().st_size if part.exists() else 0) for file, part in parts
    )
    free = shutil.disk_usage(folder).free
    if missing > free - DISK_RESERVE_BYTES:
        message = f"has room for {free >> 20} MiB, {missing >> 20} MiB are missing"
        raise Misconfigured(message, field=str(folder))


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"cannot be written to: {error.strerror or type(error).__name__}"
        raise Misconfigured(message, field=str(folder)) from None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a file's lock, so that two downloads never write to the same partial file."""
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Misconfigured("is being downloaded already", field="NAME") from None
        yield
