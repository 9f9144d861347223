"""The memory of each part of a model under exllamav2.

The sizes are those that exllamav2 0.3.2 allocates (its attn.py, mlp.py, moe_mlp.py, linear.py,
cache.py and device.py), for one card and a paged cache. In bytes, with L layers, hidden size h,
MLP width I, q = query heads * head width, e = key heads * head width, V tokens (padded to 32), a
context of S tokens, prompts worked in chunks of C tokens, a batch of B and a cache of T tokens:

    weights  all tensors but the token embedding, which stays in the computer's memory
    cache    T*L*e*k, k = 4 (fp16), 2.125 (q8), 1.625 (q6), 1.125 (q4) for a key and a value;
             a quantized cache takes T*e*4 more: one layer at a time is unpacked
    scratch  the largest of 2*C*max(q, h) + d(h, q), 2*C*(h + 2*max(h, I)) + d(h, I) and d(h, V),
             where d(a, b) = 2*min(a*b, D), D being `max_dq_size`
    rope     tables * 2*S*head width*2
    states   C*(2*h*w + 4*q + 4*e) + B*V*4, w = 2, or 4 if the state between layers is FP32
    context  the CUDA context, its kernels and cuBLAS: estimated
    slack    what the allocator rounds up: estimated
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from forebay.workers.engines.vram.footprint import CHUNK, CUDA_CONTEXT, MIB, SLACK, CacheMode
from forebay.workers.engines.weights.model_shape import Shape

SPARE = 0
BOUNDS: tuple[str, ...] = ()
DEFAULT_DQ = 512 * MIB  # elements that exllamav2 dequantizes at once by default

_PAIR_BYTES: Mapping[CacheMode, float] = MappingProxyType(
    {"fp16": 4.0, "q8": 2.125, "q6": 1.625, "q4": 1.125}
)


def max_dq_size(shape: Shape) -> int:
    """Return the `max_dq_size` that takes the least memory: only the output head exceeds it.

    A matrix that exceeds it never goes through cuBLAS; for up to 32 rows no matrix does anyway.
    """
    return min(DEFAULT_DQ, shape.hidden * max(shape.intermediate, shape.q_width))


def kv_bytes_per_token(shape: Shape, mode: CacheMode) -> int:
    """Return the bytes of one token in the cache, the unpacked layer included."""
    stored = shape.layers * shape.kv_width * _PAIR_BYTES[mode]
    return int(stored) + (0 if mode == "fp16" else 4 * shape.kv_width)


def scratch_bytes(shape: Shape, dq_size: int, chunk: int = CHUNK) -> int:
    """Return the bytes of the buffer that attention, MLP and head share."""

    def dequantized(rows: int, columns: int) -> int:
        return 2 * min(rows * columns, dq_size)

    attention = 2 * chunk * max(shape.q_width, shape.hidden)
    wide = shape.intermediate if shape.experts else max(shape.hidden, shape.intermediate)
    states = shape.hidden * (2 if shape.experts else 1)  # experts gather the states of their tokens
    mlp = 2 * chunk * (states + 2 * wide + shape.experts)
    return max(
        attention + dequantized(shape.hidden, shape.q_width),
        mlp + dequantized(shape.hidden, shape.intermediate),
        dequantized(shape.hidden, shape.padded_vocab),
    )


def fixed_parts(shape: Shape, context: int, batch: int, chunk: int = CHUNK) -> dict[str, int]:
    """Return the bytes of every part but the cache by name, for the tuned `max_dq_size`."""
    state = 4 if shape.wide_residual else 2
    prompt = chunk * (2 * shape.hidden * state + 4 * shape.q_width + 4 * shape.kv_width)
    return {
        "weights": shape.weights_bytes,
        "scratch": scratch_bytes(shape, max_dq_size(shape), chunk),
        "rope": shape.rope_tables * 4 * context * shape.head_dim,
        "states": prompt + batch * shape.padded_vocab * 4,
        "CUDA context": CUDA_CONTEXT,
        "slack": SLACK,
    }
