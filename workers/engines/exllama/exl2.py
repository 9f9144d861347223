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

from forebay.routing.logs import Event, event
from forebay.workers.engines.exllama.exl2_backend import Exl2Backend, Exl2Parts
from forebay.workers.engines.exllama.exl2_filter import LogitsFilter
from forebay.workers.engines.exllama.model_folder import (
    describe,
    encoder_if_installed,
    language_of,
    model_folder,
)
from forebay.workers.engines.exllama.paged import PagedEngine
from forebay.workers.engines.gpu import probe
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.engines.vram import planner
from forebay.workers.engines.vram.footprint import CHUNK
from forebay.workers.engines.vram.share import Share

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
