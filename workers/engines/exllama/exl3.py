"""EXL3 models on one GPU: the only file that imports exllamav3.

exllamav3 brings its own attention. It allocates memory as it runs, so the warm-up reads a long
prompt: a model that does not fit fails before there is any work.
"""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from forebay.routing.errors import EngineUnavailable
from forebay.workers.engines.exllama.backend import BackendRequest
from forebay.workers.engines.exllama.exl3_backend import Exl3Backend, Exl3Parts, LogitsFilter
from forebay.workers.engines.exllama.model_folder import (
    describe,
    encoder_if_installed,
    language_of,
    model_folder,
)
from forebay.workers.engines.exllama.paged import PagedEngine
from forebay.workers.engines.gpu import prebuilt, probe
from forebay.workers.engines.gpu.experts_trim import MISSING
from forebay.workers.engines.gpu.extensions import EXLLAMAV3
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.engines.vram import planner
from forebay.workers.engines.vram.exl3_footprint import BITS
from forebay.workers.engines.vram.footprint import CHUNK, CacheMode
from forebay.workers.engines.vram.share import Share
from forebay.workers.engines.weights.model_shape import read_shape

_WARM_UP_ANSWER_TOKENS = 32
_MAX_WARM_UP_TOKENS = 4 * CHUNK  # of the prompt: seconds, and kernels of long windows


class Exl3Engine(PagedEngine):
    """A model that exllamav3 loads: EXL3, FP16 or BF16.

    Raises:
        EngineUnavailable: This machine cannot run the engine; the message says what to do.
        Misconfigured: The model's folder is wrong, or the model does not fit its share of the
            card, or other programs use that share.
    """

    def __init__(self, settings: EngineSettings) -> None:
        folder = model_folder(settings)
        _require()
        _refuse_experts(folder)
        share = Share.of(settings)
        plan = share.plan(settings, folder, "exl3")
        super().__init__(
            describe(settings, folder),
            language_of(folder),
            encoder_if_installed(),
            partial(_load, share, plan, folder),
            settings.reserved,
        )
        self.describe(memory=share.memory(plan))


def _require() -> None:
    """Check what the import needs: without the extension it would compile for hours."""
    _need("torch", probe.INSTALL_TORCH)
    import torch  # noqa: PLC0415 - gigabytes, and only needed with a GPU

    if not torch.cuda.is_available():
        raise EngineUnavailable("torch sees no CUDA device; nvidia-smi must show one")
    _need("exllamav3", f"pip install --no-deps exllamav3=={EXLLAMAV3}")
    place = prebuilt.folder(torch.__version__, str(torch.version.cuda))
    prebuilt.on_path(place)
    _need(
        "exllamav3_ext",
        "run: forebay gpu build --exllamav3; or install a wheel of exllamav3 that was built for "
        "your torch and CUDA",
    )


def _refuse_experts(folder: Path) -> None:
    """Refuse a mixture of experts if exllamav3 is built here without the code for it."""
    found = find_spec("exllamav3_ext")
    place = Path(found.origin).parent if found is not None and found.origin else folder
    built = prebuilt.parts(place).get("exllamav3", "")
    if built.endswith(prebuilt.DENSE) and read_shape(folder, "exl3").experts:
        raise EngineUnavailable(f"{folder.name} is a mixture of experts, but {MISSING}")


def _need(name: str, fix: str) -> None:
    if find_spec(name) is None:
        raise EngineUnavailable(f"{name} is not installed; {fix}")


def _load(share: Share, plan: planner.Plan, folder: Path) -> Exl3Backend:
    import torch  # noqa: PLC0415 - see `_require`

    try:
        import exllamav3  # noqa: PLC0415 - `_require` has made sure that it compiles nothing
    except (ImportError, OSError, RuntimeError) as error:
        name = type(error).__name__
        raise EngineUnavailable(f"exllamav3 does not load ({name}); install it again") from None
    parts = Exl3Parts(
        job=exllamav3.Job,
        sampler=exllamav3.ComboSampler,
        logits_filter=type("Filter", (LogitsFilter, exllamav3.Filter), {}),
        tensor=partial(torch.tensor, dtype=torch.long),
        mask_tensor=torch.from_numpy,
        array=_array,
    )
    with share.guard():
        backend = Exl3Backend(_generator(exllamav3, plan, folder), parts)
        _warm_up(backend, plan.context)
    share.compare(plan)
    return backend


def _generator(exllamav3: ModuleType, plan: planner.Plan, folder: Path) -> Any:
    config = exllamav3.Config.from_directory(str(folder))
    model = exllamav3.Model.from_config(config)
    # The cache comes before the weights: loading attaches its part to each layer.
    cache = exllamav3.Cache(
        model,
        max_num_tokens=plan.cache_tokens,
        max_batch_size=plan.batch,
        **_cache_layer(exllamav3, plan.cache_mode),
    )
    model.load(device="cuda:0")
    return exllamav3.Generator(
        model=model,
        cache=cache,
        tokenizer=exllamav3.Tokenizer.from_config(config),
        max_batch_size=plan.batch,
        max_chunk_size=CHUNK,
    )


def _warm_up(backend: Exl3Backend, context: int) -> None:
    """Compile the kernels, which takes longer than a watchdog allows, and allocate their memory."""
    tokens = [1] * min(context - _WARM_UP_ANSWER_TOKENS, _MAX_WARM_UP_TOKENS)
    backend.start(BackendRequest("warm-up", tokens, _WARM_UP_ANSWER_TOKENS))
    while not any(progress.finish for progress in backend.iterate()):
        pass


def _cache_layer(exllamav3: ModuleType, mode: CacheMode) -> dict[str, Any]:
    if mode == "fp16":
        return {"layer_type": exllamav3.CacheLayer_fp16}
    keys, values = BITS[mode]
    return {"layer_type": exllamav3.CacheLayer_quant, "k_bits": keys, "v_bits": values}


def _array(tensor: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.asarray(tensor.float().cpu().numpy())
