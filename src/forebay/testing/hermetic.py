"""Settings and an environment of a test's own, so that a fleet owes nothing to the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic_settings import BaseSettings

SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def hermetic(cls: type[SettingsT], **fields: Any) -> SettingsT:
    """Return settings with these fields, and defaults for the others; no variable is read."""
    defaults = {name: field.get_default() for name, field in cls.model_fields.items()}
    return cls(**{**defaults, **fields})


@contextmanager
def empty_environment() -> Iterator[None]:
    """Hide the `FOREBAY_*` variables: the router reads some when it is made."""
    names = [name for name in os.environ if name.startswith("FOREBAY_")]
    hidden = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(hidden)
