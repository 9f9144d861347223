"""Labels: the options among which a `Classify` request or a question chooses."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from types import GenericAlias
from typing import Annotated, Any, get_args

from pydantic import (
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetPydanticSchema,
    StringConstraints,
    Tag,
)

from forebay.routing.base import FrozenModel, Short


def _as_tuple(source: Any, handler: GetCoreSchemaHandler) -> Any:
    return handler.generate_schema(GenericAlias(tuple, (get_args(source)[0], ...)))


#: Type checkers let callers pass any sequence; the model stores a tuple, which nobody can change.
AS_TUPLE = GetPydanticSchema(_as_tuple)


class Label(FrozenModel):
    """One option of a `Classify` request, or of a `Choice` or `Score` question.

    Attributes:
        name: the label itself.
        description: what the label means. A description or examples make the answer much better.
        examples: up to 20 texts that bear the label.
    """

    name: Annotated[Short, Field(repr=False)]
    description: Annotated[str, StringConstraints(max_length=2_000), Field(repr=False)] = ""
    examples: Annotated[
        Sequence[Annotated[str, StringConstraints(min_length=1, max_length=2_000)]],
        AS_TUPLE,
        Field(max_length=20, repr=False),
    ] = ()


def _label_tag(label: Any) -> str:
    return "label" if isinstance(label, dict | Label) else "name"


LabelOrName = Annotated[
    Annotated[Short, Tag("name")] | Annotated[Label, Tag("label")], Discriminator(_label_tag)
]


def distinct(labels: Sequence[str | Label]) -> tuple[str | Label, ...]:
    """Return the labels as a tuple.

    Raises:
        ValueError: Two labels have the same name, or a label is blank.
    """
    names = [label.name for label in as_labels(tuple(labels))]
    if len({name.strip().casefold() for name in names}) < len(names):
        raise ValueError("no two labels may have the same name")
    if not all(name.strip() for name in names):
        raise ValueError("no label may be blank")
    return tuple(labels)


@lru_cache(maxsize=256)  # millions of jobs share a few sets of labels
def as_labels(labels: tuple[str | Label, ...]) -> tuple[Label, ...]:
    """Return the labels, with each bare name made a `Label`."""
    return tuple(_bare(label) if isinstance(label, str) else label for label in labels)


@lru_cache(maxsize=1024)
def _bare(name: str) -> Label:
    """Return the label of a name: each job that is answered asks for it several times."""
    return Label(name=name)
