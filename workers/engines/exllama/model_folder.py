"""What both exllama engines read from the folder of a model, before its weights."""

from __future__ import annotations

from pathlib import Path

from forebay.routing.errors import Misconfigured, Unavailable
from forebay.workers.engines.batching.embedding import SentenceEncoder
from forebay.workers.engines.engine import EngineInfo
from forebay.workers.engines.exllama.paged import Language
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.engines.tokens.chat_template import ChatTemplate
from forebay.workers.engines.tokens.masks import Masks
from forebay.workers.engines.tokens.tokenizer import Tokenizer
from forebay.workers.engines.weights.digests import revision


def model_folder(settings: EngineSettings) -> Path:
    """Return the folder of the model.

    Raises:
        Misconfigured: FOREBAY_MODEL_DIR is not set, or names no folder.
    """
    if settings.model_dir is None:
        wanted = "the folder of a model, as `forebay models pull` prints it"
        raise Misconfigured(f"is needed: {wanted}", field="FOREBAY_MODEL_DIR")
    folder = settings.model_dir.expanduser().resolve()
    if not folder.is_dir():
        raise Misconfigured(f"{folder} is no folder", field="FOREBAY_MODEL_DIR")
    return folder


def describe(settings: EngineSettings, folder: Path) -> EngineInfo:
    """Return what is known of the engine before its model is loaded."""
    return EngineInfo(
        engine=settings.engine,
        model=folder.name,
        revision=revision(folder),
        context_tokens=settings.context_tokens,
        slots=settings.slots,
    )


def language_of(folder: Path) -> Language:
    """Read the tokens, the chat template and the masks of a model's folder.

    Raises:
        Misconfigured: One of its files is missing or wrong.
        Unavailable: A package is missing.
    """
    vocabulary = Tokenizer(folder)
    template = ChatTemplate.of(folder, vocabulary.special)
    return Language(vocabulary, template, Masks(vocabulary))


def encoder_if_installed() -> SentenceEncoder | None:
    """Return the packaged sentence encoder, which works on the CPU; `None` if it is missing."""
    try:
        return SentenceEncoder()
    except Unavailable:
        return None
