"""What a bulk is: enough, on disk, for any process to go on with it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from forebay.producers.bulk.names import shown
from forebay.producers.bulk.options import Order
from forebay.producers.bulk.sources.open_source import ROWS, STDIN_NAME
from forebay.producers.bulk.streams.fingerprint import Fingerprint
from forebay.routing.errors import InvalidJob

FOLDER_SUFFIX = ".bulk"
SPOOL = "rows.spool"
_NAME = "manifest.json"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The arguments of a bulk. It is stored in the bulk's folder, beside the output.

    Attributes:
        id: the id of the bulk.
        tenant: the tenant that it belongs to.
        source: the absolute path of the input; empty if the rows are in the bulk's spool.
        source_format: the format of the input; `None` means by its name.
        fingerprint: what the input was like when the bulk began; `None` for a spool.
        template: `Template.spec`.
        out: the absolute path of the output.
        out_format: the format of the output; `None` means by its name.
        order: `input`: results have the order of the rows. `any`: results are written as they come.
        deadline: seconds since 1970 by which rows must be answered, or `None`.
        max_usd: what the bulk may cost on Bedrock, or `None`.
        max_cost_usd: what one row may cost on Bedrock, or `None`.
        completes: the folder of the bulk whose rows are answered again; empty if this is no retry.
        numbers: the numbers of these rows there, in order.
    """

    id: str
    tenant: str
    source: str
    source_format: str | None
    fingerprint: Fingerprint | None
    template: dict[str, Any] = field(repr=False)
    out: str
    out_format: str | None = None
    order: Order = "input"
    deadline: float | None = None
    max_usd: float | None = None
    max_cost_usd: float | None = None
    completes: str = ""
    numbers: tuple[int, ...] = field(default=(), repr=False)
    version: int = VERSION

    @property
    def folder(self) -> Path:
        """The folder that holds the manifest, the journal and the spool."""
        return folder_of(self.out)

    @property
    def results(self) -> Path:
        """The file that holds the results at the end; a retry has that of the bulk it completes."""
        return Path((self.completes or str(self.folder)).removesuffix(FOLDER_SUFFIX))

    @property
    def journal(self) -> Path:
        """The file that says which rows were fed and which results are in the output."""
        return self.folder / "journal.jsonl"

    @property
    def spool(self) -> Path:
        """The file that keeps rows which came from standard input or an iterable."""
        return self.folder / SPOOL

    @property
    def name_of_spool(self) -> str | None:
        """How the caller knows the rows of the spool; `None` if there is no spool."""
        if self.source:
            return None
        return ROWS if self.source_format == "items" else STDIN_NAME

    @property
    def bad_rows(self) -> Path:
        """The file of the rows that could not be read."""
        return bad_rows_of(self.out)

    def save(self) -> None:
        """Write the manifest, all of it or nothing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / _NAME
        new = path.with_suffix(".new")
        new.write_text(json.dumps(asdict(self), indent=1))
        new.replace(path)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the manifest of a bulk; its output is where the folder is.

        Raises:
            InvalidJob: There is none, or another version of Forebay wrote it.
        """
        path = folder / _NAME
        try:
            values = json.loads(path.read_text())
        except FileNotFoundError:
            raise InvalidJob(
                "holds no bulk: name one by its id or output", field=shown(folder)
            ) from None
        except (OSError, ValueError):
            raise InvalidJob("cannot be read", field=shown(path)) from None
        if not isinstance(values, dict) or values.get("version") != VERSION:
            raise InvalidJob("was written by another version of Forebay", field=shown(path))
        try:
            mark = values.pop("fingerprint")
            made = cls(**values, fingerprint=Fingerprint(**mark) if mark else None)
        except (TypeError, KeyError):
            raise InvalidJob("cannot be read", field=shown(path)) from None
        return made._at(folder)

    def _at(self, folder: Path) -> Self:
        """Return the manifest of a bulk that is in this folder now: it may have been moved."""
        if self.folder == folder:
            return self
        out = str(folder).removesuffix(FOLDER_SUFFIX)
        # The folder of a retry is in the folder of the bulk that it completes.
        return replace(self, out=out, completes=self.completes and str(folder.parent))


def bad_rows_of(out: str | Path) -> Path:
    """Return the file of the bad rows of the bulk that writes this output."""
    path = Path(out)
    return path.with_name(f"{path.stem}.bad.jsonl")


def folder_of(out: str | Path) -> Path:
    """Return the folder of the bulk that writes this output."""
    path = Path(out)
    return path.with_name(path.name + FOLDER_SUFFIX)
