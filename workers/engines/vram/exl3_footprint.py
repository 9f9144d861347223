"""What each part of a model takes under exllamav3.

The sizes are those of exllamav3 1.6.5 for one card. exllamav2 allocates one buffer and works in it;
exllamav3 asks torch for what it needs at each step, and torch keeps what was ever asked for. So
`scratch` is a bound: the most that any moment of a step needs at once, the largest module's turn.
In bytes, with L layers, hidden size h, MLP width I, q = query heads * head width, e = key heads *
head width, V tokens (padded to 128), a context of S tokens, prompts worked in chunks of C tokens, a
batch of B and a cache of T tokens:

    weights  of all tensors but the token embedding, which stays in the computer's memory
             (modules/embedding.py `Embedding`, `prefer_cpu`; modules/quant/exl3.py `LinearEXL3`)
    cache    fp16: T*L*e*4 (cache/fp16.py `CacheLayer_fp16`). Quantized: T*L*(e/32)*(4*(k + v) + 4),
             k and v being bits of a key and a value, with an FP16 scale for each 32 of them
             (cache/quant.py `CacheLayer_quant`); T*e*4 more only where the heads' width keeps the
             kernels from reading it as it lies (modules/attention_fn/dispatch.py `attn_dispatch`)
    scratch  the largest of
             attention  C*10*h + C*4*(q + e) + the larger of 4*e*min(S, 65,536) + a and
                        C*4*h + u(q, h): a quantized window is unpacked, 256 pages at a time at
                        most, and a is the sums of the parts into which a long window is split,
                        128 MiB or one C*q*4 (modules/attention_fn/triton_paged.py
                        `paged_attn_triton_prefill`, modules/attn.py `Attention.forward`)
             MLP        C*14*h + C*I*inner + the larger of u(h, I) and C*4*h + u(I, h)
                        (modules/mlp.py `GatedMLP.forward`, modules/transformer.py)
             linear     C*10*h + C*(6*m + 4*k + 23*v) + the larger of u(h, m) and C*4*h + u(v, h),
                        with queries, keys and values m wide, k the keys and v the values
                        (modules/gated_delta_net.py `GatedDeltaNet.forward`; what the scan itself
                        takes, 19 a value, is the figure in gated_delta_net_fn/gated_delta_rule.py)
             experts    the library's own bound (modules/block_sparse_mlp.py `_prefill_bound`,
                        modules/moe_batch_recon.py `worst_case_bytes`)
             head       B*14*h + B*V*6 + V*16, and u(h, V) where B is more than 144
             loading    the largest module's weights that are not quantized, a second time
                        (loader/safetensors.py `end_deferred_load`)
             where u(a, b) = 2*a*min(b, 32,768) is a matrix made FP16 for many rows at once
             (modules/quant/exl3.py `reconstruct_hgemm`)
    states   what the steps of a small batch keep, and the buffers of experts: estimated
    jobs     the states of layers with linear attention, B times (modules/gated_delta_net.py
             `GDNLayerState`); such layers are not among the L of the cache, and where there are
             some the gates of the others take C*4*q more
    context  of CUDA, its kernels and cuBLAS, with 20 MiB that exllamav3 takes past torch
             (exllamav3_ext/quant/exl3_devctx.cuh): estimated
    slack    for what torch rounds, and the last block of 128 MiB in which small weights are kept
             together (loader/safetensors.py `_arena_alloc`): estimated

None of this was measured on a card yet. What is estimated there is rounded up: the number of
processors (for experts) is taken for that of the largest cards, and the window is counted as
unpacked in fp16 mode too, where it is read as it lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from forebay.workers.engines.vram.footprint import CUDA_CONTEXT, MIB, PAGE, SLACK, CacheMode
from forebay.workers.engines.weights.linear_attention import LinearAttention
from forebay.workers.engines.weights.model_shape import Shape

SPARE = 1  # the place of one token is set aside beyond a job's limit
BOUNDS = ("scratch", "states")
#: Bits of a key and of a value.
BITS: Mapping[CacheMode, tuple[int, int]] = MappingProxyType(
    {"q8": (8, 8), "q6": (8, 4), "q4": (4, 4)}
)

_GROUP = 32  # numbers that share a scale
_WIDEST = 512  # of a head that the kernels read as it lies
_WINDOW = 256 * PAGE  # tokens that are unpacked at once
_SPLIT_FROM = 8_192  # tokens of a window that is worked in parts
_SPLIT_BYTES = 128 * MIB
_UNPACKED_COLUMNS = 32_768  # of a matrix, at once
_FEW_ROWS = 144  # for so many no matrix is unpacked
_EXPERT_GROUPS = 24  # of 8 processors each; no card has more than 192
_EXPERT_ROWS = 256
_SLAB_ROWS, _SLAB_BYTES, _SLAB_EXPERTS, _PADDING = 16_384, 256 * MIB, 16, 1.1
_SCAN = 19  # bytes of a value and token while a linear layer reads a prompt
_KEPT = 64 * MIB
_BEYOND_TORCH = 20 * MIB
_ARENA = 128 * MIB


def max_dq_size(shape: Shape) -> None:
    """See `Footprint`: there is no such setting."""
    del shape


def kv_bytes_per_token(shape: Shape, mode: CacheMode) -> int:
    """Bytes of one token in the cache, and of what is unpacked of the whole cache, if it is."""
    if mode == "fp16":
        return shape.cached_layers * shape.kv_width * 4
    bits = sum(BITS[mode])
    kept = shape.cached_layers * (shape.kv_width // _GROUP) * (4 * bits + 4)
    as_it_lies = shape.head_dim % _GROUP == 0 and shape.head_dim <= _WIDEST
    return kept + (0 if as_it_lies else 4 * shape.kv_width)


def fixed_parts(shape: Shape, context: int, batch: int, chunk: int) -> dict[str, int]:
    """Bytes of every part but the cache, by name."""
    return {
        "weights": shape.weights_bytes,
        "scratch": scratch_bytes(shape, context, batch, chunk),
        "states": _KEPT + _expert_buffers(shape),
        "CUDA context": CUDA_CONTEXT + _BEYOND_TORCH,
        "slack": SLACK + _ARENA,
    } | ({"jobs": batch * _job_state(shape.linear)} if shape.linear else {})


def scratch_bytes(shape: Shape, context: int, batch: int, chunk: int) -> int:
    """The most that a step holds at once and gives back, or loading the model does."""
    inner = _experts(shape, chunk) if shape.experts else _mlp(shape, chunk)
    linear = _linear(shape.linear, shape.hidden, chunk) if shape.linear else 0
    attention = _attention(shape, context, chunk)
    return max(attention, linear, inner, _head(shape, batch), shape.staged_bytes)


def _attention(shape: Shape, context: int, chunk: int) -> int:
    gates = 4 * shape.q_width if shape.linear else 0
    held = chunk * (10 * shape.hidden + 4 * (shape.q_width + shape.kv_width) + gates)
    tokens = min(-(-(context + SPARE) // PAGE) * PAGE, _WINDOW)
    window = 4 * shape.kv_width * tokens + _sums(shape, context, chunk)
    out = 4 * chunk * shape.hidden + _unpacked(shape.q_width, shape.hidden)
    return held + max(window, out)


def _sums(shape: Shape, context: int, chunk: int) -> int:
    """Of the parts of a long window; the heads' width is rounded up to a power of two."""
    if context < _SPLIT_FROM:
        return 0
    width = 1 << (shape.head_dim - 1).bit_length()
    rows = -(-chunk // 128) * 128
    return max(4 * rows * shape.heads * width, _SPLIT_BYTES) * (width + 2) // width


def _linear(one: LinearAttention, hidden: int, chunk: int) -> int:
    held = chunk * (10 * hidden + 6 * one.mixed + 4 * one.keys + (4 + _SCAN) * one.values)
    out = 4 * chunk * hidden + _unpacked(one.values, hidden)
    return held + max(_unpacked(hidden, one.mixed), out)


def _job_state(one: LinearAttention) -> int:
    """The convolution's last tokens, two FP16 states, and what a step leaves to take it back."""
    convolution = 2 * one.mixed * one.kernel
    states = 2 * 2 * one.key_dim * one.values
    return one.layers * (convolution + states + 2 * one.mixed + 6 * one.value_heads)


def _mlp(shape: Shape, chunk: int) -> int:
    held = chunk * (14 * shape.hidden + shape.inner_bytes * shape.intermediate)
    out = 4 * chunk * shape.hidden + _unpacked(shape.intermediate, shape.hidden)
    return held + max(_unpacked(shape.hidden, shape.intermediate), out)


def _experts(shape: Shape, chunk: int) -> int:
    """Sums of all tokens, and either one expert that gets all of them or a group of experts."""
    hidden, inner = shape.hidden, shape.intermediate
    assigned = chunk * shape.experts_used
    sums = hidden * (6 * chunk + 4 * int(assigned * _PADDING) + 8)
    one = chunk * (4 * inner + 8 * hidden)
    matrices = 4 * hidden * inner
    group = max(1, min(_SLAB_EXPERTS, _SLAB_BYTES // matrices))
    most = min(_SLAB_ROWS, assigned)
    rows = min(group * most, _SLAB_ROWS, int(assigned * _PADDING) + most)
    slab = group * matrices + rows * (2 * hidden + 4 * inner)
    return 14 * chunk * hidden + sums + max(one, slab)


def _head(shape: Shape, batch: int) -> int:
    logits = 14 * batch * shape.hidden + (6 * batch + 16) * shape.padded_vocab
    many = batch > _FEW_ROWS
    return logits + (_unpacked(shape.hidden, shape.padded_vocab) if many else 0)


def _expert_buffers(shape: Shape) -> int:
    """Of all layers together: rows of each group of processors, and one matrix unpacked."""
    if not shape.experts:
        return 0
    rows = _EXPERT_GROUPS * _EXPERT_ROWS
    return 4 * rows * (shape.hidden + shape.intermediate) + 2 * shape.hidden * shape.intermediate


def _unpacked(rows: int, columns: int) -> int:
    return 2 * rows * min(columns, _UNPACKED_COLUMNS)
