"""EXL3 models on one GPU, for owners who quantize anew: the only file that imports exllamav3.

exllamav3 brings its own attention and a loader that measures as it goes, so there is no plan; what
does not fit is found while it is loaded.
"""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from routing.errors import EngineUnavailable, Misconfigured
from workers.settings import EngineSettings

from .exl2 import cap_memory, described, encoder_if_installed, language_of, model_folder
from .exl3_library import Exl3Library, Exl3Parts, Gate
from .library import CHUNK, PAGE
from .paged import PagedEngine

_WARM = 32  # tokens
_BITS = {"q8": (8, 8), "q6": (8, 4), "q4": (4, 4)}  # of keys and values


class Exl3Engine(PagedEngine):
    """A model that exllamav3 loads: EXL3, FP16 or BF16.

    Raises:
        EngineUnavailable: This machine cannot run it; with what to do.
        Misconfigured: The model's folder is wrong, or the model does not fit the card.
    """

    def __init__(self, settings: EngineSettings) -> None:
        folder = model_folder(settings)
        _require()
        super().__init__(
            described(settings, folder),
            language_of(folder),
            encoder_if_installed(),
            partial(_load, settings, folder),
        )


def _require() -> None:
    """Say what is missing before the import, which would compile the extension for half an hour."""
    needs = {
        "torch": "install a torch made for your CUDA, as its site says",
        "exllamav3": "pip install --no-deps exllamav3",
        "exllamav3_ext": "install a wheel of exllamav3 that was built for your torch and CUDA",
    }
    for name, mend in needs.items():
        if find_spec(name) is None:
            raise EngineUnavailable(f"{name} is not installed; {mend}")
    import torch  # noqa: PLC0415 - gigabytes, and only where there is a GPU

    if not torch.cuda.is_available():
        raise EngineUnavailable("torch sees no CUDA device; nvidia-smi must show one")


def _load(settings: EngineSettings, folder: Path) -> Exl3Library:
    import torch  # noqa: PLC0415 - see `_require`

    try:
        import exllamav3  # noqa: PLC0415 - only now it is known to compile nothing
    except (ImportError, OSError, RuntimeError) as error:
        name = type(error).__name__
        raise EngineUnavailable(f"exllamav3 does not load ({name}); install it again") from None
    cap_memory(settings)
    try:
        generator = _generator(exllamav3, settings, folder)
    except torch.cuda.OutOfMemoryError:
        raise Misconfigured(
            "does not fit the card with this cache: lower FOREBAY_SLOTS or FOREBAY_CONTEXT_TOKENS",
            field="FOREBAY_MODEL_DIR",
        ) from None
    parts = Exl3Parts(
        job=exllamav3.Job,
        sampler=exllamav3.ComboSampler,
        gate=type("Gated", (Gate, exllamav3.Filter), {}),
        tensor=partial(torch.tensor, dtype=torch.long),
        masked=torch.from_numpy,
        array=_array,
    )
    return Exl3Library(generator, parts)


def _generator(exllamav3: ModuleType, settings: EngineSettings, folder: Path) -> Any:
    config = exllamav3.Config.from_directory(str(folder))
    model = exllamav3.Model.from_config(config)
    # The cache comes before the weights: loading gives each layer its part of it.
    cache = exllamav3.Cache(
        model, max_num_tokens=_cache_tokens(settings), **_kind(exllamav3, settings)
    )
    model.load(device="cuda:0")
    generator = exllamav3.Generator(
        model=model,
        cache=cache,
        tokenizer=exllamav3.Tokenizer.from_config(config),
        max_batch_size=settings.slots,
        max_chunk_size=CHUNK,
    )
    # Kernels are compiled at their first use, for longer than a watchdog waits for a step.
    generator.generate(prompt="Once upon a time,", max_new_tokens=_WARM)
    return generator


def _cache_tokens(settings: EngineSettings) -> int:
    """Whole pages for every slot, and the token more that the library reserves."""
    return settings.slots * -(-(settings.context_tokens + Exl3Library.spare) // PAGE) * PAGE


def _kind(exllamav3: ModuleType, settings: EngineSettings) -> dict[str, Any]:
    if settings.cache_mode in (None, "fp16"):
        return {"layer_type": exllamav3.CacheLayer_fp16}
    keys, values = _BITS[settings.cache_mode]
    return {"layer_type": exllamav3.CacheLayer_quant, "k_bits": keys, "v_bits": values}


def _array(tensor: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.asarray(tensor.float().cpu().numpy())
