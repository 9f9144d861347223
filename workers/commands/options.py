"""Options that several commands share, and the data set that some of them name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from forebay.routing.errors import Misconfigured, Unavailable
from forebay.routing.terminal.options import flag, option

if TYPE_CHECKING:
    from forebay.workers.training.data.dataset import Dataset

COLUMNS = 80  # of a line that a command prints


Prompts = Annotated[
    Path, option("--prompts", "FILE", "Columns uid, prompt, job_type and optionally source.")
]
Outcomes = Annotated[
    Path,
    option(
        "--outcomes",
        "FILE",
        "Columns uid, model, score. Several answers to one prompt count as their mean.",
    ),
]
Weak = Annotated[
    str, option("--weak", "MODEL[,MODEL]", "The local model. Several count as their mean.")
]
Strong = Annotated[
    str, option("--strong", "MODEL[,MODEL]", "The frontier model. Several count as their mean.")
]
LabelCount = Annotated[int | None, option("--labels", "N", "Fit on N random prompts only.", min=20)]
Folds = Annotated[int | None, option("--folds", "K", "Cross-validate with K folds.", min=2, max=20)]
Seed = Annotated[
    int, option("--seed", "N", "The seed of all random choices.", min=0, max=2**31 - 1)
]
NoJobType = Annotated[bool, flag("--no-job-type", "Ignore job types; use the text alone.")]
Encoder = Annotated[
    bool, flag("--encoder", "Also fit the sentence encoder's reading of the texts (extra `cpu`).")
]
Second = Annotated[
    str | None, option("--second", "MODEL[,MODEL]", "Local models that give a second opinion.")
]
Preds = Annotated[
    Path | None,
    option(
        "--preds",
        "FILE",
        "Columns uid, model, pred. Of several answers to one prompt the first counts.",
    ),
]
StandIn = Annotated[
    bool, flag("--stand-in", "Also use audits by the mock of Bedrock, for a trial.")
]
Vram = Annotated[
    int | None,
    option(
        "--vram-mib",
        "MIB",
        "Memory of the card; without it, nvidia-smi is asked.",
        min=1,
        max=1 << 24,
    ),
]


@contextmanager
def types_counted_by(version: str, command: str) -> Iterator[None]:
    """Count job types by a version that is in force by now; a command counts them again.

    Raises:
        Unavailable: Redis cannot be reached any more. The error says that the version is in force.
    """
    try:
        yield
    except Unavailable as error:
        found = f"{version} is in force, but what audits showed of job types is not counted by it"
        raise Unavailable(f"{error.message}; {found}: run `{command}`") from None


def model_names(models: str, option: str) -> list[str]:
    """Split the comma-separated names of models that an option holds.

    Raises:
        Misconfigured: There is no name, or one stands there twice.
    """
    names = [name.strip() for name in models.split(",") if name.strip()]
    if not names:
        raise Misconfigured("must name a model", field=option)
    if repeated := [name for name in names if names.count(name) > 1]:
        raise Misconfigured(f"names {repeated[0]!r} twice", field=option)
    return names


def second_names(second: str, weak: Sequence[str]) -> list[str]:
    """Return the names of `--second`, which the weak model must not be among.

    Raises:
        Misconfigured: It is, or there is no name.
    """
    names = model_names(second, "--second")
    if weak[0] in names:
        found = f"names {weak[0]!r}, whose answers these models' are compared with"
        raise Misconfigured(found, field="--second")
    return names


def read_dataset(
    prompts: Path, outcomes: Path, weak: str, strong: str, *, no_job_type: bool
) -> Dataset:
    """Read the files that --prompts and --outcomes name, for the models of --weak and --strong.

    Raises:
        Misconfigured: A file, a column or a model is missing, or a value is wrong.
    """
    from forebay.workers.training.data import dataset  # noqa: PLC0415 - of the extra `router`

    models = model_names(weak, "--weak"), model_names(strong, "--strong")
    return dataset.read(prompts, outcomes, *models, job_type=not no_job_type)
