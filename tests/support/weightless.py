"""exllamav2's own generator, cache, sampler and tokenizer on the CPU, over a model without weights.

The model writes each token into the cache, at the place that the block table says, and reads the
whole past back from there, so that a wrong page shows as a wrong answer. Logits come from a rule.
Needs torch and exllamav2's Python code; functions of its extension that work on the CPU are written
here in Python if the extension is not built.
"""

from __future__ import annotations

import functools
import importlib
import json
import sys
import time
import types
from importlib.util import find_spec
from itertools import pairwise

from forebay.workers.engines.exllama.exl2_backend import Exl2Backend, Exl2Parts
from forebay.workers.engines.exllama.exl2_filter import LogitsFilter
from forebay.workers.engines.gpu import prebuilt, probe
from tinymodel import Rule

PAGE, CHUNK = 256, 2_048
MODEL = {
    "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 1, "hidden_size": 64,
    "intermediate_size": 128, "num_attention_heads": 2, "num_key_value_heads": 1,
    "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 1e4,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
STEP_S = 0.02  # of a story, so that it lasts until a test cancels it


def backend(folder, pages, slots):
    """Return the backend over exllamav2's generator."""
    exllamav2, generation, torch = _libraries()
    parts = Exl2Parts(
        job=generation.ExLlamaV2DynamicJob,
        settings=generation.ExLlamaV2Sampler.Settings,
        logits_filter=type("Filter", (LogitsFilter, generation.filters.ExLlamaV2Filter), {}),
        tensor=functools.partial(torch.tensor, dtype=torch.long),
    )
    model = _model(exllamav2, torch, folder)
    generator = generation.ExLlamaV2DynamicGenerator(
        model=model,
        cache=exllamav2.ExLlamaV2Cache(model, max_seq_len=pages * PAGE, fixed_device="cpu"),
        tokenizer=exllamav2.ExLlamaV2Tokenizer(model.config),
        max_batch_size=slots,
        max_chunk_size=CHUNK,
        max_q_size=1,
        paged=True,
    )
    return Exl2Backend(generator, parts)


@functools.cache
def _libraries():
    torch = importlib.import_module("torch")
    prebuilt.on_path(prebuilt.folder(torch.__version__, torch.version.cuda or "none"))
    if find_spec("exllamav2_ext") is None:
        extension = types.ModuleType("exllamav2_ext")
        vars(extension).update(sample_basic=sample_basic, count_match=count_match)
        extension.partial_strings_match = partial_strings_match
        sys.modules["exllamav2_ext"] = extension
    prebuilt.on_path(probe.TORCH_ATTENTION)
    exllamav2 = importlib.import_module("exllamav2")
    sys.modules["exllamav2_ext"].cache_rotate = cache_rotate  # a kernel
    return exllamav2, importlib.import_module("exllamav2.generator"), torch


def _model(exllamav2, torch, folder):
    rule = Rule(folder)
    (folder / "config.json").write_text(json.dumps({**MODEL, "vocab_size": rule.size}))
    config = exllamav2.ExLlamaV2Config()
    config.model_dir = str(folder)
    config.prepare(no_tensors=True)
    config.tensor_file_map, config.checkpoint_fused_mlp = {}, False
    config.max_input_len = CHUNK
    rule = Rule(folder, padding=-rule.size % 32)

    class Weightless(exllamav2.ExLlamaV2):
        """A model whose forward pass is the rule."""

        def forward_chunk(self, input_ids, cache, *, attn_params, preprocess_only=False, **_):
            kept = cache.key_states[0][0, :, 0, 0]
            rows = []
            for at, ids in enumerate(input_ids):
                past = int(attn_params.cache_seqlens[at])
                where = places(torch, attn_params.block_index[at], past + len(ids))
                kept[where[past:]] = ids.to(kept.dtype)
                rows.append(kept[where].int().tolist())
            return {} if preprocess_only else {"logits": self._logits(rows)}

        def _logits(self, rows):
            if any(rule.tells_story(tuple(rule.split(row)[0])) for row in rows):
                time.sleep(STEP_S)
            return torch.stack([torch.from_numpy(rule.logits(row)) for row in rows])[:, None]

    return Weightless(config)


def places(torch, blocks, count):
    """Return the places in the cache of the first `count` tokens of a sequence."""
    positions = torch.arange(count)
    return blocks.long()[positions // PAGE] * PAGE + positions % PAGE


def sample_basic(logits, temperature, top_k, top_p, *others):
    """Sample as the extension does, without the settings that Forebay leaves alone."""
    random, tokens, probabilities = others[4:7]
    assert others[:4] == (0.0, 0.0, 0.0, 0.0) or others[:4] == (0, 0, 0, 0)
    row = logits[0, 0]
    weights = (row / (temperature or 1.0)).softmax(0)
    if top_k == 1:
        token = int(row.argmax())
    else:
        order = weights.sort(descending=True)
        kept = order.values[: top_k or None]
        kept = kept[(kept.cumsum(0) - kept) < (top_p or 1.0)]
        token = int(order.indices[int((kept.cumsum(0) / kept.sum() < random).sum())])
    tokens[0, 0], probabilities[0, 0] = token, weights[token]


def count_match(left, right, most):
    """Return the length of the beginning that two rows have in common."""
    size = min(most, right.shape[1])
    same = left[0, :size] == right[0, :size]
    return int(same.int().cumprod(0).sum())


def partial_strings_match(text, offsets, strings):
    """Return where one of the strings is in the text, -2 if one may begin at its end, or -1."""
    text = bytes(text).decode("utf-32-le")
    starts = memoryview(bytes(offsets)).cast("I")
    for begin, end in pairwise(starts):
        string = bytes(strings)[begin:end].decode("utf-32-le")
        if (place := text.find(string)) >= 0:
            return place
        if any(text.endswith(string[:size]) for size in range(1, len(string))):
            return -2
    return -1


def cache_rotate(cache, order, spare):
    """Move pages in a circle."""
    first = cache[order[0]].clone()
    for target, source in pairwise(order):
        cache[target] = cache[source]
    cache[order[-1]] = first
