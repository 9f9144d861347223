"""Write EXL2 models of any shape with random weights, for benchmarks: speed ignores the values.

The numbers come from the GPU, if torch has one, in seconds; NumPy takes minutes.

`python tests/gpu/models/randomexl2.py SHAPE BITS FOLDER TOKENIZER_DIR`. exllamav2 packs an EXL2
matrix of r rows (inputs) and c columns (outputs), in groups of 128 rows of b bits, into these
tensors:

    q_weight     int32 (r * b / 32, c)       the b-bit numbers of the rows, 32 in b words
    q_scale      int32 (groups, c / 8)       a 4-bit scale for each group and column
    q_scale_max  fp16  (groups,)             the largest scale of each group
    q_groups     int16 (groups * 2,)         bits of each group, and its first row of q_weight
    q_invperm    int32 (r,)                  the order of rows

The tokenizer is that of a real model, with meaningless words up to the size of the vocabulary.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Protocol

import numpy as np
from safetensors.numpy import save_file

GROUP = 128
HEAD_BITS = 6
_MAX_FILE_BYTES = 2 << 30  # files are written one after another, so memory use stays small


@dataclass(frozen=True, slots=True)
class Shape:
    """Dimensions, by their names in config.json."""

    num_hidden_layers: int
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int


SHAPES = {
    "tiny": Shape(2, 256, 512, 4, 2, 64, 49_152),
    "8b": Shape(32, 4096, 14336, 32, 8, 128, 128_256),
    "14b": Shape(40, 5120, 17408, 40, 8, 128, 151_936),
}


class Numbers(Protocol):
    """A source of random numbers."""

    def words(self, rows: int, columns: int) -> np.ndarray:
        """Return 32-bit integers, all of them equally likely."""

    def normal(self, rows: int, columns: int) -> np.ndarray:
        """Return normally distributed FP16 numbers."""


class CpuNumbers:
    """Numbers by NumPy."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)

    def words(self, rows: int, columns: int) -> np.ndarray:
        """See `Numbers.words`."""
        return self._rng.integers(0, 1 << 32, (rows, columns), np.uint32).view(np.int32)

    def normal(self, rows: int, columns: int) -> np.ndarray:
        """See `Numbers.normal`."""
        return self._rng.standard_normal((rows, columns), np.float32).astype(np.float16)


class TorchNumbers:
    """Numbers by torch on a device."""

    def __init__(self, device: str) -> None:
        self._torch = import_module("torch")
        self._rng = self._torch.Generator(device).manual_seed(0)

    def words(self, rows: int, columns: int) -> np.ndarray:
        """See `Numbers.words`."""
        torch = self._torch
        made = torch.empty((rows, columns), dtype=torch.int32, device=self._rng.device)
        return made.random_(-(1 << 31), (1 << 31) - 1, generator=self._rng).cpu().numpy()

    def normal(self, rows: int, columns: int) -> np.ndarray:
        """See `Numbers.normal`."""
        torch = self._torch
        made = torch.empty((rows, columns), dtype=torch.float16, device=self._rng.device)
        return made.normal_(generator=self._rng).cpu().numpy()


def numbers() -> Numbers:
    """Return numbers of the GPU, or of the CPU without one."""
    if find_spec("torch") is None or not import_module("torch").cuda.is_available():
        return CpuNumbers()
    return TorchNumbers("cuda")


def write(shape: Shape, bits: int, folder: Path, tokenizer: Path) -> None:
    """Write the model into the folder, in files of 2 GiB."""
    folder.mkdir(parents=True, exist_ok=True)
    files = count(1)
    part: dict[str, np.ndarray] = {}
    for name, array in tensors(shape, bits, numbers()):
        part[name] = array
        if sum(each.nbytes for each in part.values()) > _MAX_FILE_BYTES:
            save_file(part, folder / f"output-{next(files):05}.safetensors")
            part = {}
    save_file(part, folder / f"output-{next(files):05}.safetensors")
    for name in ("tokenizer_config.json", "generation_config.json"):
        shutil.copyfile(tokenizer / name, folder / name)
    words = json.loads((tokenizer / "tokenizer.json").read_text())
    vocabulary = words["model"]["vocab"]
    vocabulary |= {f"r{number}": number for number in range(len(vocabulary), shape.vocab_size)}
    (folder / "tokenizer.json").write_text(json.dumps(words))
    # The last file: a folder with it is complete.
    (folder / "config.json").write_text(json.dumps(config(shape, bits), indent=1) + "\n")


def config(shape: Shape, bits: int) -> dict[str, object]:
    """Return the config.json of a Llama with EXL2 weights."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **asdict(shape),
        "max_position_embeddings": 32_768,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500_000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "quantization_config": {
            "quant_method": "exl2", "version": "0.3.2", "bits": bits, "head_bits": HEAD_BITS,
        },
    }  # fmt: skip


def tensors(shape: Shape, bits: int, rng: Numbers) -> Iterator[tuple[str, np.ndarray]]:
    """Yield every tensor of the model with its name."""
    hidden, inner = shape.hidden_size, shape.intermediate_size
    queries = shape.num_attention_heads * shape.head_dim
    keys = shape.num_key_value_heads * shape.head_dim
    embedding = rng.normal(shape.vocab_size, hidden)
    embedding *= np.float16(0.02)
    yield "model.embed_tokens.weight", embedding
    matrices = {
        "self_attn.q_proj": (hidden, queries), "self_attn.k_proj": (hidden, keys),
        "self_attn.v_proj": (hidden, keys), "self_attn.o_proj": (queries, hidden),
        "mlp.gate_proj": (hidden, inner), "mlp.up_proj": (hidden, inner),
        "mlp.down_proj": (inner, hidden),
    }  # fmt: skip
    for layer in range(shape.num_hidden_layers):
        prefix = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"{prefix}{norm}.weight", np.ones(hidden, np.float16)
        for name, (rows, columns) in matrices.items():
            yield from matrix(prefix + name, rows, columns, bits, rng)
    yield "model.norm.weight", np.ones(hidden, np.float16)
    padded = -(-shape.vocab_size // 32) * 32
    yield from matrix("lm_head", hidden, padded, HEAD_BITS, rng)


def matrix(
    key: str, rows: int, columns: int, bits: int, rng: Numbers
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the tensors of one matrix; its scales keep products near 1."""
    groups = rows // GROUP
    if rows % GROUP or columns % 32:
        raise ValueError(f"{key}: {rows} by {columns} is not whole groups and columns of 32")
    words = GROUP * bits // 32
    yield f"{key}.q_weight", rng.words(groups * words, columns)
    yield f"{key}.q_scale", rng.words(groups, columns // 8)
    # A weight is (scale + 1)^2 / 256 of this, times its number minus 2^(bits - 1).
    largest = 3.0 / (2 ** (bits - 1) * rows**0.5)
    yield f"{key}.q_scale_max", np.full(groups, largest, np.float16)
    starts = [number for group in range(groups) for number in (bits, group * words)]
    yield f"{key}.q_groups", np.array(starts, np.int16)
    yield f"{key}.q_invperm", np.arange(rows, dtype=np.int32)


def main() -> None:
    """Write one model."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("shape", choices=sorted(SHAPES))
    parser.add_argument("bits", type=int, choices=(2, 3, 4, 5, 6, 8))
    parser.add_argument("folder", type=Path)
    parser.add_argument("tokenizer", type=Path, help="folder of a model whose tokenizer to take")
    given = parser.parse_args()
    write(SHAPES[given.shape], given.bits, given.folder, given.tokenizer)


if __name__ == "__main__":
    main()
