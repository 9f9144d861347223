"""The memory of each part of a model under exllamav3.

The sizes are those of exllamav3 1.6.5 for one card. exllamav2 allocates one buffer and works in it;
exllamav3 asks torch for memory at each step, and torch releases none of it. So
`scratch` is an upper bound: the most that any moment of a step needs at once.

In bytes, with L layers, hidden size h, MLP width I, q = query heads * head width, e = key heads *
head width, V tokens (padded to 128), a context of S tokens, prompts worked in chunks of C tokens, a
batch of B and a cache of T tokens:

    weights  all tensors but the token embedding, which stays in the computer's memory
             (modules/embedding.py `Embedding`, `prefer_cpu`; modules/quant/exl3.py `LinearEXL3`)
    cache    fp16: T*L*e*4 (cache/fp16.py `CacheLayer_fp16`). Quantized: T*L*(e/32)*(4*(k + v) + 4),
             k and v being bits of a key and a value, with an FP16 scale for each 32 of them
             (cache/quant.py `CacheLayer_quant`); T*e*4 more only if the heads' width keeps the
             kernels from reading it packed (modules/attention_fn/dispatch.py `attn_dispatch`)
    scratch  the largest of
             attention  C*10*h + C*4*(q + e) + the larger of 4*e*min(S, 65,536) + a and
                        C*4*h + u(q, h): a quantized window is unpacked, at most 256 pages at a
                        time, and a is the partial sums of a long window, which is split:
                        128 MiB, or one C*q*4 (modules/attention_fn/triton_paged.py
                        `paged_attn_triton_prefill`, modules/attn.py `Attention.forward`)
             MLP        C*14*h + C*I*inner + the larger of u(h, I) and C*4*h + u(I, h)
                        (modules/mlp.py `GatedMLP.forward`, modules/transformer.py)
             linear     C*10*h + C*(6*m + 4*k + 23*v) + the larger of u(h, m) and C*4*h + u(v, h),
                        where queries, keys and values together are m wide, the keys k and the
                        values v (modules/gated_delta_net.py `GatedDeltaNet.forward`; the scan
                        takes 19 bytes a value, as gated_delta_net_fn/gated_delta_rule.py says)
             experts    the library's own bound (modules/block_sparse_mlp.py `_prefill_bound`,
                        modules/moe_batch_recon.py `worst_case_bytes`)
             head       B*14*h + B*V*6 + V*16, and u(h, V) if B is more than 144
             loading    the unquantized weights of the module with most of them, a second time
                        (loader/safetensors.py `end_deferred_load`)
             where u(a, b) = 2*a*min(b, 32,768) is a matrix made FP16 for many rows at once
             (modules/quant/exl3.py `reconstruct_hgemm`)
    states   buffers that small batches keep between steps, and those of experts: estimated
    jobs     the states of layers with linear attention, B times (modules/gated_delta_net.py
             `GDNLayerState`); such layers do not count among the L of the cache, and a model that
             has them takes C*4*q more for the gates of its other layers
    context  the CUDA context, its kernels and cuBLAS, with 20 MiB that exllamav3 allocates without
             torch (exllamav3_ext/quant/exl3_devctx.cuh): estimated
    slack    what torch rounds up, and the last block of 128 MiB in which small weights lie
             together (loader/safetensors.py `_arena_alloc`): estimated

None of this was measured on a card yet. Estimates are rounded up: the number of processors (for
experts) is that of the largest cards, and the window counts as unpacked in fp16 mode too, in which
the kernels read it directly.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from forebay.workers.engines.vram.footprint import CUDA_CONTEXT, MIB, PAGE, SLACK, CacheMode
from forebay.workers.engines.weights.linear_attention import LinearAttention
from forebay.workers.engines.weights.model_shape import Shape

SPARE = 1  # exllamav3 reserves the place of one token beyond a job's limit
BOUNDS = ("scratch", "states")
#: Bits of a key and of a value in each quantized mode.
BITS: Mapping[CacheMode, tuple[int, int]] = MappingProxyType(
    {"q8": (8, 8), "q6": (8, 4), "q4": (4, 4)}
)

_SCALE_GROUP = 32  # numbers that share a scale
_MAX_PACKED_HEAD = 512  # width of a head; the kernels read narrower ones packed
_MAX_UNPACKED_TOKENS = 256 * PAGE  # of a window, at once
_MIN_SPLIT_TOKENS = 8_192  # of a window that is split into parts
_MIN_SPLIT_BYTES = 128 * MIB  # for the partial sums of a split window
_MAX_UNPACKED_COLUMNS = 32_768  # of a matrix, at once
_MAX_PACKED_ROWS = 144  # rows that are multiplied without unpacking the matrix
_MAX_EXPERT_GROUPS = 24  # of 8 processors each; no card has more than 192
_ROWS_PER_EXPERT_GROUP = 256
_MAX_SLAB_ROWS, _MAX_SLAB_BYTES, _MAX_SLAB_EXPERTS = 16_384, 256 * MIB, 16
_SLAB_PADDING = 1.1  # rows of a slab over the rows that experts work on
_SCAN_BYTES_PER_VALUE = 19  # for each token, while a linear layer reads a prompt
_SMALL_BATCH_BYTES = 64 * MIB  # buffers that small batches keep between steps
_OUTSIDE_TORCH_BYTES = 20 * MIB
_ARENA_BYTES = 128 * MIB


def max_dq_size(shape: Shape) -> None:
    """See `Footprint.max_dq_size`: exllamav3 has no such setting."""
    del shape


def kv_bytes_per_token(shape: Shape, mode: CacheMode) -> int:
    """Return the bytes of one token in the cache, unpacked copy included if there is one."""
    if mode == "fp16":
        return shape.cached_layers * shape.kv_width * 4
    bits = sum(BITS[mode])
    stored = shape.cached_layers * (shape.kv_width // _SCALE_GROUP) * (4 * bits + 4)
    read_packed = shape.head_dim % _SCALE_GROUP == 0 and shape.head_dim <= _MAX_PACKED_HEAD
    return stored + (0 if read_packed else 4 * shape.kv_width)


def fixed_parts(shape: Shape, context: int, batch: int, chunk: int) -> dict[str, int]:
    """Return the bytes of every part but the cache by name."""
    return {
        "weights": shape.weights_bytes,
        "scratch": scratch_bytes(shape, context, batch, chunk),
        "states": _SMALL_BATCH_BYTES + _expert_buffers(shape),
        "CUDA context": CUDA_CONTEXT + _OUTSIDE_TORCH_BYTES,
        "slack": SLACK + _ARENA_BYTES,
    } | ({"jobs": batch * _job_state(shape.linear)} if shape.linear else {})


def scratch_bytes(shape: Shape, context: int, batch: int, chunk: int) -> int:
    """Return the most that a step, or loading the model, holds at once and then releases."""
    inner = _experts(shape, chunk) if shape.experts else _mlp(shape, chunk)
    linear = _linear(shape.linear, shape.hidden, chunk) if shape.linear else 0
    attention = _attention(shape, context, chunk)
    return max(attention, linear, inner, _head(shape, batch), shape.staged_bytes)


def _attention(shape: Shape, context: int, chunk: int) -> int:
    gates = 4 * shape.q_width if shape.linear else 0
    held = chunk * (10 * shape.hidden + 4 * (shape.q_width + shape.kv_width) + gates)
    tokens = min(-(-(context + SPARE) // PAGE) * PAGE, _MAX_UNPACKED_TOKENS)
    window = 4 * shape.kv_width * tokens + _split_sums(shape, context, chunk)
    out = 4 * chunk * shape.hidden + _unpacked(shape.q_width, shape.hidden)
    return held + max(window, out)


def _split_sums(shape: Shape, context: int, chunk: int) -> int:
    """Return the bytes of a long window's partial sums; heads are padded to a power of two."""
    if context < _MIN_SPLIT_TOKENS:
        return 0
    width = 1 << (shape.head_dim - 1).bit_length()
    rows = -(-chunk // 128) * 128
    return max(4 * rows * shape.heads * width, _MIN_SPLIT_BYTES) * (width + 2) // width


def _linear(linear: LinearAttention, hidden: int, chunk: int) -> int:
    values = (4 + _SCAN_BYTES_PER_VALUE) * linear.values
    held = chunk * (10 * hidden + 6 * linear.mixed + 4 * linear.keys + values)
    out = 4 * chunk * hidden + _unpacked(linear.values, hidden)
    return held + max(_unpacked(hidden, linear.mixed), out)


def _job_state(linear: LinearAttention) -> int:
    """Sum the convolution's last tokens, two FP16 states, and what undoing a step needs."""
    convolution = 2 * linear.mixed * linear.kernel
    states = 2 * 2 * linear.key_dim * linear.values
    undo = 2 * linear.mixed + 6 * linear.value_heads
    return linear.layers * (convolution + states + undo)


def _mlp(shape: Shape, chunk: int) -> int:
    held = chunk * (14 * shape.hidden + shape.inner_bytes * shape.intermediate)
    out = 4 * chunk * shape.hidden + _unpacked(shape.intermediate, shape.hidden)
    return held + max(_unpacked(shape.hidden, shape.intermediate), out)


def _experts(shape: Shape, chunk: int) -> int:
    """Sum the results of all tokens, and one expert with all of them or a group of experts."""
    hidden, inner = shape.hidden, shape.intermediate
    assigned = chunk * shape.experts_used
    sums = hidden * (6 * chunk + 4 * int(assigned * _SLAB_PADDING) + 8)
    one_expert = chunk * (4 * inner + 8 * hidden)
    matrices = 4 * hidden * inner
    group = max(1, min(_MAX_SLAB_EXPERTS, _MAX_SLAB_BYTES // matrices))
    expert_rows = min(_MAX_SLAB_ROWS, assigned)
    padded_rows = int(assigned * _SLAB_PADDING) + expert_rows
    rows = min(group * expert_rows, _MAX_SLAB_ROWS, padded_rows)
    slab = group * matrices + rows * (2 * hidden + 4 * inner)
    return 14 * chunk * hidden + sums + max(one_expert, slab)


def _head(shape: Shape, batch: int) -> int:
    logits = 14 * batch * shape.hidden + (6 * batch + 16) * shape.padded_vocab
    unpacks = batch > _MAX_PACKED_ROWS
    return logits + (_unpacked(shape.hidden, shape.padded_vocab) if unpacks else 0)


def _expert_buffers(shape: Shape) -> int:
    """Return the bytes that all layers share: rows of each group, and an unpacked matrix."""
    if not shape.experts:
        return 0
    rows = _MAX_EXPERT_GROUPS * _ROWS_PER_EXPERT_GROUP
    return 4 * rows * (shape.hidden + shape.intermediate) + 2 * shape.hidden * shape.intermediate


def _unpacked(rows: int, columns: int) -> int:
    return 2 * rows * min(columns, _MAX_UNPACKED_COLUMNS)
