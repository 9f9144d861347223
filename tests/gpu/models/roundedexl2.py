"""Round the linear layers of an FP16 model to EXL2 with 8 bits: `roundedexl2.py FULL FOLDER`.

exllamav2's converter measures and calibrates for minutes on a GPU. With 8 bits rounding alone is
nearly exact, and takes seconds of a CPU, so whether the kernels of EXL2 compute what they should is
known at once. `randomexl2.py` says what the tensors are.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np

BITS, GROUP = 8, 64
_ZERO = 1 << (BITS - 1)  # the number that stands for a weight of 0
_STEPS = 16  # of a scale, from (1 / 16)^2 of the largest
_LINEAR = re.compile(r"(model\.layers\.\d+\.(?:self_attn|mlp)\.\w+_proj)\.weight")


def rounded(key: str, weight: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the tensors of one matrix, which is given with its outputs as rows."""
    rows, columns = weight.shape[1], weight.shape[0]
    if rows % GROUP or columns % 32:
        raise ValueError(f"{key}: {rows} by {columns} is not whole groups and columns of 32")
    groups = weight.T.astype(np.float32).reshape(rows // GROUP, GROUP, columns)
    needed = np.abs(groups).max(axis=1) / (_ZERO - 1)
    largest = np.maximum(needed.max(axis=1), np.finfo(np.float16).tiny).astype(np.float16)
    steps = np.ceil(_STEPS * np.sqrt(needed / largest.astype(np.float32)[:, None]))
    steps = np.clip(steps, 1, _STEPS)
    scales = (steps / _STEPS) ** 2 * largest.astype(np.float32)[:, None]
    numbers = np.clip(np.rint(groups / scales[:, None]) + _ZERO, 0, 2 * _ZERO - 1)
    yield f"{key}.q_weight", packed(numbers.reshape(rows, columns), BITS)
    yield f"{key}.q_scale", packed((steps - 1).T, 4).T
    yield f"{key}.q_scale_max", largest
    words = GROUP * BITS // 32
    starts = [number for group in range(len(groups)) for number in (BITS, group * words)]
    yield f"{key}.q_groups", np.array(starts, np.int16)
    yield f"{key}.q_invperm", np.arange(rows, dtype=np.int32)


def packed(numbers: np.ndarray, bits: int) -> np.ndarray:
    """Pack numbers of 4 or 8 bits into words of 32 bits, along the first axis."""
    each = 32 // bits
    parts = numbers.astype(np.uint32).reshape(len(numbers) // each, each, -1)
    shifts = np.arange(0, 32, bits, dtype=np.uint32)[None, :, None]
    return np.bitwise_or.reduce(parts << shifts, axis=1).view(np.int32)


def tensors(full: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield every tensor of the model; what is no linear layer of a block stays as it is."""
    for name, weight in full.items():
        if match := _LINEAR.fullmatch(name):
            yield from rounded(match[1], weight)
        else:
            yield name, weight


def main() -> None:
    """Write the folder."""
    full, folder = map(Path, sys.argv[1:3])
    safetensors = import_module("safetensors.numpy")
    folder.mkdir(parents=True, exist_ok=True)
    made = dict(tensors(safetensors.load_file(full / "model.safetensors")))
    made = {name: np.ascontiguousarray(tensor) for name, tensor in made.items()}
    safetensors.save_file(made, folder / "output.safetensors", {"format": "pt"})
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copyfile(full / name, folder / name)
    config = json.loads((full / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "exl2", "version": "0.3.2", "bits": BITS}
    # The last file: a folder with it is complete.
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


if __name__ == "__main__":
    main()
