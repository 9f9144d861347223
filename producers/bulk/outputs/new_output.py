"""Checks where a new output is to be written, before anything is."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from forebay.producers.bulk.names import shown
from forebay.producers.bulk.outputs.durable_file import writable
from forebay.producers.bulk.outputs.open_output import format_of
from forebay.routing.errors import InvalidJob


def path_of(out: str | PathLike[str] | None) -> Path:
    """Return the path of an output; without one, a file in a new temporary folder.

    Raises:
        InvalidJob: It is no name of a file.
    """
    if out is None:
        return Path(tempfile.mkdtemp(prefix="forebay-bulk-")) / "results.jsonl"
    if str(out) in {"", "-"}:
        raise InvalidJob("must be a file: results cannot go to standard output", field="out")
    with writable(Path(out)):
        return Path(out).resolve()


def check_kind(path: Path, form: str | None, kind: str | None) -> None:
    """Raise `InvalidJob` if the output cannot hold the answers of a kind, or has no format."""
    if format_of(path, form) == "npy" and kind not in {None, "embed"}:
        raise InvalidJob(
            f"holds embeddings, and {kind} makes none: write .jsonl, .csv or .parquet",
            field=shown(path),
        )


def check_new(paths: Iterable[Path]) -> None:
    """Raise `InvalidJob` if one of the paths exists."""
    for path in paths:
        with writable(path):
            there = path.exists()
        if there:
            raise InvalidJob(
                "exists: go on with --resume, or replace it with --overwrite", field=shown(path)
            )


def check_apart(source: Path, paths: Iterable[Path]) -> None:
    """Raise `InvalidJob` if a path that is to be written is what is read, or is inside of it."""
    for path in paths:
        with writable(path):
            if source.exists() and path.exists() and path.samefile(source):
                raise InvalidJob(
                    "is read by the bulk: write the results to another file", field=shown(path)
                )
            if source.is_dir() and source.resolve() in path.parents:
                raise InvalidJob(
                    "is in the folder of the rows, and would be read as one: write it elsewhere",
                    field=shown(path),
                )
