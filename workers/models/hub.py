"""The Hugging Face hub, through `huggingface_hub`: list a repository, and download its files.

The library brings connections, retries, mirrors and tokens. Only the partial files are ours: the
library's own `hf_hub_download` deletes the partial file of a download that is interrupted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

from forebay.routing.errors import ForebayError, Misconfigured, Unavailable

try:
    import httpx2
    from huggingface_hub import HfApi, constants, get_hf_file_metadata, get_token, hf_hub_url
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
    )
    from huggingface_hub.file_download import http_get
    from huggingface_hub.hf_api import RepoFile
    from huggingface_hub.utils.tqdm import silent_tqdm
except ImportError:
    message = "is not installed: install the extra `models`"
    raise Misconfigured(message, field="huggingface_hub") from None

HUB_URL = "https://huggingface.co"
LIBRARY = "forebay"
TIMEOUT_S = 30.0
MODEL_FILES = (
    "*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "*.md", "LICENSE*", "NOTICE*",
)  # fmt: skip

_SHA1 = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

constants.HF_HUB_DISABLE_TELEMETRY = True  # tell no one which program and libraries run here


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository at one commit.

    Attributes:
        repo: `owner/name`.
        revision: the commit, 40 hex digits.
        name: path in the repository.
        size: bytes; `None` if the server does not say.
        sha256: digest of the whole file, if the hub knows it (files under Git LFS).
        blob_id: Git's own digest of a file that is not under Git LFS.
    """

    repo: str
    revision: str
    name: str
    size: int | None
    sha256: str | None = None
    blob_id: str | None = None

    @property
    def place(self) -> str:
        """The file as error messages name it."""
        return f"{self.repo}/{self.name} at {self.revision[:12]}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files of a model folder, as a repository holds them at one commit."""

    repo: str
    commit: str
    files: tuple[RemoteFile, ...]
    licence: str | None

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size or 0 for file in self.files)


def find_file(repo: str, name: str, revision: str) -> RemoteFile:
    """Ask the hub for the size and the digest of a file.

    Raises:
        Misconfigured: There is no such file, or this account may not read it.
        Unavailable: The hub cannot be reached.
    """
    file = RemoteFile(repo, revision, name, None)
    with _translated_errors(repo, file.place):
        metadata = get_hf_file_metadata(
            _url(file), headers=_headers(), timeout=TIMEOUT_S, retry_on_errors=True
        )
    etag = metadata.etag or ""
    sha256 = etag if _SHA256.fullmatch(etag) else None
    return RemoteFile(repo, revision, name, metadata.size, sha256)


def find_snapshot(repo: str, revision: str) -> Snapshot:
    """List the files of a model folder at a branch, tag or commit, which is pinned to its commit.

    Raises:
        Misconfigured: There is no such revision, it holds no weights, or access is refused.
        Unavailable: The hub cannot be reached.
    """
    api = HfApi(endpoint=_endpoint(), library_name=LIBRARY)
    place = f"{repo} at {revision}"
    with _translated_errors(repo, place):
        info = api.model_info(repo, revision=revision, timeout=TIMEOUT_S)
        commit = str(info.sha)
        entries = api.list_repo_tree(repo, revision=commit)
        tree = [
            _remote_file(repo, commit, entry) for entry in entries if isinstance(entry, RepoFile)
        ]
    files = tuple(sorted(filter(_is_wanted, tree), key=lambda file: file.name))
    names = [file.name for file in files]
    if "config.json" not in names or not any(name.endswith(".safetensors") for name in names):
        hint = f"name the branch that does, {repo}@BRANCH, or one GGUF file, hf:..."
        raise Misconfigured(
            f"{place} holds no config.json with *.safetensors; {hint}", field="NAME"
        )
    licence = info.card_data.get("license") if info.card_data else None
    return Snapshot(repo, commit, files, licence and str(licence))


def download(file: RemoteFile, part: Path, *, quiet: bool) -> None:
    """Append to `part` what it lacks of a file; go on after a cut if bytes arrived before it.

    Args:
        file: what to download.
        part: the partial file; it must exist.
        quiet: show no progress bar, even on a terminal.

    Raises:
        Misconfigured: The hub has no such file, or refuses it.
        Unavailable: The download stopped; a later call goes on where this one ended.
    """
    try:
        with _translated_errors(file.repo, file.place):
            while True:
                before = part.stat().st_size
                try:
                    _append(file, part, quiet=quiet)
                except httpx2.TransportError:
                    if part.stat().st_size <= before:
                        raise
                else:
                    return
    except Unavailable as error:
        here = f"the same command goes on after the {part.stat().st_size >> 20} MiB that are here"
        raise Unavailable(f"{error.message}; {here}") from None


def _remote_file(repo: str, commit: str, entry: RepoFile) -> RemoteFile:
    """Read an entry of a listing; its digests name partial files, so they must be digests."""
    sha256 = entry.lfs.sha256 if entry.lfs else None
    if not _SHA1.fullmatch(entry.blob_id) or (sha256 and not _SHA256.fullmatch(sha256)):
        raise Unavailable(f"the hub lists {repo} with something else than digests")
    return RemoteFile(repo, commit, entry.path, entry.size, sha256, entry.blob_id)


def _append(file: RemoteFile, part: Path, *, quiet: bool) -> None:
    with part.open("r+b") as stream:
        start = stream.seek(0, os.SEEK_END)
        if file.size is None or start > file.size:
            start = stream.seek(stream.truncate(0))
        http_get(
            _url(file), stream, resume_size=start, expected_size=file.size,
            headers=_headers(), displayed_filename=file.name,
            tqdm_class=cast("Any", silent_tqdm) if quiet else None,
        )  # fmt: skip
        stream.flush()
        os.fsync(stream.fileno())


def _is_wanted(file: RemoteFile) -> bool:
    """Return whether a file belongs to a model folder; engines read no folders inside it."""
    wanted = any(fnmatch(file.name, pattern) for pattern in MODEL_FILES)
    return wanted and "/" not in file.name and not file.name.startswith(".")


def _url(file: RemoteFile) -> str:
    return hf_hub_url(file.repo, file.name, revision=file.revision, endpoint=_endpoint())


def _headers() -> dict[str, str]:
    token = get_token()  # of HF_TOKEN, or of `hf auth login`
    headers = {"user-agent": LIBRARY, "accept-encoding": "identity"}
    return {**headers, "authorization": f"Bearer {token}"} if token else headers


def _endpoint() -> str:
    """Return the address of the hub, or of the mirror in HF_ENDPOINT."""
    endpoint = os.environ.get("HF_ENDPOINT") or HUB_URL
    if not re.match(r"https?://[^/]", endpoint):
        raise Misconfigured("must be an http:// or https:// address", field="HF_ENDPOINT")
    return endpoint.rstrip("/")


@contextmanager
def _translated_errors(repo: str, place: str) -> Iterator[None]:
    """Map the errors of the library to ours; `repo` and `place` are for the messages."""
    try:
        yield
    except HfHubHTTPError as error:
        raise _refusal(error, repo, place) from None
    except OfflineModeIsEnabled:
        raise Misconfigured("is set; unset it to download", field="HF_HUB_OFFLINE") from None
    except HFValidationError:
        raise Misconfigured(f"{repo} is no name of a repository", field="NAME") from None
    except httpx2.HTTPError as error:
        raise Unavailable(f"the hub cannot be reached ({type(error).__name__})") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise Unavailable(f"the hub sent another number of bytes of {place}") from None


def _refusal(error: HfHubHTTPError, repo: str, place: str) -> ForebayError:
    status = error.response.status_code
    if isinstance(error, GatedRepoError):
        steps = f"accept it at {HUB_URL}/{repo}, and set HF_TOKEN to a token of that account"
        return Misconfigured(
            f"{repo} is gated: its licence must be accepted; {steps}", field="HF_TOKEN"
        )
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        hint = "if it is private, set HF_TOKEN to a token that may read it"
        return Misconfigured(f"the hub has no {place}, or refuses it; {hint}", field="NAME")
    if status == HTTPStatus.NOT_FOUND:
        return Misconfigured(f"the hub has no {place}", field="NAME")
    return Unavailable(f"the hub answered {int(status)}")
