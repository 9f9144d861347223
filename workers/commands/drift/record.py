"""The record of drift: the pinned answers to the panel, and the last comparison with them."""

from __future__ import annotations

from pathlib import Path
from tempfile import NamedTemporaryFile

from pydantic import ValidationError

from forebay.routing.base import FrozenModel, Kind
from forebay.routing.errors import InvalidJob, Misconfigured
from forebay.routing.jobs import Content
from forebay.workers.models.catalogue import folder
from forebay.workers.models.writable import unwritable


class PanelAnswer(FrozenModel):
    """One answer: its content if it could be read, and whether it passed its checks."""

    kind: Kind
    content: Content | None
    passed: bool
    low_logprob: float | None = None


class Run(FrozenModel):
    """The answers of one model on one engine to the whole panel.

    Attributes:
        made: when, in Unix seconds.
        engine, library: the engine, and the version of its library.
        model, revision: the weights; another quantization is another revision.
        driver: the version of the GPU's driver; empty without a GPU.
    """

    made: float
    engine: str
    library: str
    model: str
    revision: str
    driver: str
    answers: tuple[PanelAnswer, ...]

    @property
    def named(self) -> str:
        """The model, the engine and the driver in words."""
        driver = f", driver {self.driver}" if self.driver else ""
        engine = f"{self.engine} {self.library}".strip()
        return f"{self.model} {self.revision} by {engine}{driver}"


class KindDrift(FrozenModel):
    """How the answers of one kind differ from the pinned ones.

    Attributes:
        jobs: how many there are.
        exact: share of answers that are exactly the same.
        agreement: mean agreement, 0 to 1.
        passed_before, passed: shares that passed their checks, pinned and now.
        surer: mean change of the probability of the chosen label, or else of the geometric mean of
            the least likely tokens; `None` if neither is known.
        moved: what moved more than it may, in words; empty if nothing did.
    """

    kind: Kind
    jobs: int
    exact: float
    agreement: float
    passed_before: float
    passed: float
    surer: float | None
    moved: str = ""


class Comparison(FrozenModel):
    """The last comparison: when, of which model, and what it showed for each kind."""

    made: float
    named: str
    kinds: tuple[KindDrift, ...]

    @property
    def moved(self) -> list[str]:
        """What moved, a sentence for each kind."""
        return [f"{each.kind}: {each.moved}" for each in self.kinds if each.moved]


class DriftRecord(FrozenModel):
    """The content of the record's file."""

    panel: str
    pinned: Run
    last: Comparison | None = None


def default_file() -> Path:
    """Return where the record is kept if no other file is named; `forebay doctor` reads it."""
    return folder() / "drift.json"


def read_record(path: Path) -> DriftRecord | None:
    """Return the record in a file; `None` if there is no such file.

    Raises:
        Misconfigured: The file cannot be read, or holds something else.
    """
    try:
        return DriftRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Misconfigured(f"cannot be read: {error.strerror}", field=str(path)) from None
    except (ValidationError, InvalidJob):
        hint = "is no record of drift; remove it, or name another file"
        raise Misconfigured(hint, field=str(path)) from None


def write_record(path: Path, record: DriftRecord) -> None:
    """Write the record in one step. It holds the panel's answers: only its owner may read it.

    Raises:
        Misconfigured: The file cannot be written.
    """
    try:
        with NamedTemporaryFile("w", dir=path.parent, delete=False) as file:  # its mode is 0o600
            file.write(record.model_dump_json(indent=1) + "\n")
        Path(file.name).replace(path)
    except OSError as error:
        raise unwritable(error, str(path)) from None
