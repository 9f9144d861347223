"""Engines over the fake libraries of `exllama.py`: everything that is Forebay's own is real."""

from __future__ import annotations

import importlib

import numpy as np

from exllama import (
    PAGE,
    Exl2Generator,
    Exl2Job,
    Exl2Settings,
    Exl3Generator,
    Exl3Job,
    Exl3Sampler,
)  # fmt: skip
from forebay.workers.engines.engine import EngineInfo
from forebay.workers.engines.exllama.exl2_backend import Exl2Backend, Exl2Parts
from forebay.workers.engines.exllama.exl2_filter import LogitsFilter as Exl2LogitsFilter
from forebay.workers.engines.exllama.exl3_backend import Exl3Backend, Exl3Parts
from forebay.workers.engines.exllama.exl3_backend import LogitsFilter as Exl3LogitsFilter
from forebay.workers.engines.exllama.model_folder import encoder_if_installed, language_of
from forebay.workers.engines.exllama.paged import PagedEngine
from forebay.workers.engines.weights.digests import revision
from library_sources import Exl2Filter, Exl3Filter
from tinymodel import Rule


def exl2_engine(folder, *, slots=2, context=256, pages=None):
    """Return the engine over a fake exllamav2, and the fake generator."""
    backend = exl2_backend(folder, pages or slots * -(-context // PAGE), slots)
    return _engine(folder, "exl2", slots, context, backend), backend.generator


def library_engine(folder, name="exl2", *, slots=2, context=256, pages=None):
    """Return the engine over the own generator of exllamav2 or exllamav3, and the generator."""
    weightless = importlib.import_module({"exl2": "weightless", "exl3": "weightless_exl3"}[name])
    spare = int(name == "exl3")
    made = weightless.backend(folder, pages or slots * (-(-context // PAGE) + spare), slots)
    return _engine(folder, name, slots, context, made), made.generator


def exl2_backend(folder, pages, slots):
    """Return the backend over a fake exllamav2."""
    parts = Exl2Parts(
        job=Exl2Job,
        settings=Exl2Settings,
        logits_filter=type("Filter", (Exl2LogitsFilter, Exl2Filter), {}),
        tensor=np.array,
    )
    return Exl2Backend(Exl2Generator(Rule(folder), pages, slots), parts)


def exl3_engine(folder, *, slots=2, context=256, pages=None):
    """Return the engine over a fake exllamav3, and the fake generator."""
    backend = exl3_backend(folder, pages or slots * (-(-context // PAGE) + 1), slots)
    return _engine(folder, "exl3", slots, context, backend), backend.generator


def exl3_backend(folder, pages, slots):
    """Return the backend over a fake exllamav3."""
    parts = Exl3Parts(
        job=Exl3Job,
        sampler=Exl3Sampler,
        logits_filter=type("Filter", (Exl3LogitsFilter, Exl3Filter), {}),
        tensor=np.array,
        mask_tensor=np.array,
        array=np.asarray,
    )
    return Exl3Backend(Exl3Generator(Rule(folder), pages, slots), parts)


def _engine(folder, name, slots, context, backend):
    info = EngineInfo(
        engine=name, model=folder.name, revision=revision(folder), context_tokens=context,
        slots=slots,
    )  # fmt: skip
    return PagedEngine(info, language_of(folder), encoder_if_installed(), lambda: backend)
