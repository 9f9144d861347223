"""EXL2 models on one GPU: the only file that imports exllamav2.

The order of loading matters: the probe comes before the import, the plan before the weights, and
the settings that bound memory before the model that reads them.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from forebay.routing.errors import Misconfigured, Unavailable
from forebay.routing.logs import Event, event
from forebay.workers.engines.batching.embedding import SentenceEncoder
from forebay.workers.engines.engine import EngineInfo
from forebay.workers.engines.exllama.exl2_backend import Exl2Backend, Exl2Parts
from forebay.workers.engines.exllama.exl2_filter import LogitsFilter
from forebay.workers.engines.exllama.paged import Language, PagedEngine
from forebay.workers.engines.gpu import probe
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.engines.tokens.chat_template import ChatTemplate
from forebay.workers.engines.tokens.masks import Masks
from forebay.workers.engines.tokens.tokenizer import Tokenizer
from forebay.workers.engines.vram import planner
from forebay.workers.engines.vram.footprint import CHUNK
from forebay.workers.engines.vram.share import Share
from forebay.workers.engines.weights.digests import revision

log = logging.getLogger(__name__)

_CACHES = {
    "fp16": "ExLlamaV2Cache",
    "q8": "ExLlamaV2Cache_Q8",
    "q6": "ExLlamaV2Cache_Q6",
    "q4": "ExLlamaV2Cache_Q4",
}


class Exl2Engine(PagedEngine):
    """A model that exllamav2 loads: EXL2, GPTQ or FP16.

    Raises:
        EngineUnavailable: This machine cannot run the engine; the message says what to do.
        Misconfigured: The model's folder is wrong, or the model does not fit its share of the
            card, or other programs use that share.
    """

    def __init__(self, settings: EngineSettings) -> None:
        folder = model_folder(settings)
        attention = probe.require(fallback=settings.attention == "torch")
        log.info(
            "paged attention by %s %s",
            attention.by,
            attention.version,
            extra=event(Event.ENGINE_READY),
        )
        share = Share.of(settings)
        plan = share.plan(settings, folder, "exl2")
        super().__init__(
            describe(settings, folder),
            language_of(folder),
            encoder_if_installed(),
            partial(_load, share, plan, folder),
            settings.reserved,
        )
        self.describe(memory=share.memory(plan))


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


def _load(share: Share, plan: planner.Plan, folder: Path) -> Exl2Backend:
    import exllamav2  # noqa: PLC0415 - the probe has made sure that it compiles nothing
    import torch  # noqa: PLC0415 - gigabytes, and only needed with a GPU
    from exllamav2 import generator as generation  # noqa: PLC0415 - see above

    with share.guard():
        generator = _generator(exllamav2, generation, plan, folder)
    share.compare(plan)
    parts = Exl2Parts(
        job=generation.ExLlamaV2DynamicJob,
        settings=generation.ExLlamaV2Sampler.Settings,
        logits_filter=type("Filter", (LogitsFilter, generation.filters.ExLlamaV2Filter), {}),
        tensor=partial(torch.tensor, dtype=torch.long),
    )
    return Exl2Backend(generator, parts)


def _generator(
    exllamav2: ModuleType, generation: ModuleType, plan: planner.Plan, folder: Path
) -> Any:
    config = exllamav2.ExLlamaV2Config(str(folder))
    # Before the model is made: it sizes its buffers by these.
    config.max_seq_len = plan.context
    config.max_input_len = CHUNK
    config.max_dq_size = plan.max_dq_size
    model = exllamav2.ExLlamaV2(config)
    model.load()
    cache = getattr(exllamav2, _CACHES[plan.cache_mode])(model, max_seq_len=plan.cache_tokens)
    generator = generation.ExLlamaV2DynamicGenerator(
        model=model,
        cache=cache,
        tokenizer=exllamav2.ExLlamaV2Tokenizer(config),
        max_batch_size=plan.batch,
        max_chunk_size=CHUNK,
        max_q_size=1,  # larger values are for draft models, and cost memory
        paged=True,
    )
    generator.warmup()
    return generator
