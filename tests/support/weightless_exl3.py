"""exllamav3's own generator, page table, jobs, filters and tokenizer on the CPU, without weights.

As in `weightless`, the model writes each token into the cache, where the block table says, and
reads the past back from there. Kernels sample, so that is written here in torch. The rest of the
extension is used if it is built; if not, its functions that work on the CPU are written here too.
"""

from __future__ import annotations

import functools
import importlib
import json
import sys
import time
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from unittest.mock import MagicMock

from forebay.workers.engines.exllama.exl3 import _array
from forebay.workers.engines.exllama.exl3_backend import Exl3Backend, Exl3Parts, LogitsFilter
from forebay.workers.engines.gpu import prebuilt
from tinymodel import Rule
from weightless import CHUNK, MODEL, PAGE, STEP_S, count_match, partial_strings_match, places


def backend(folder, pages, slots):
    """Return the backend over exllamav3's generator."""
    exllamav3, torch = _libraries()
    parts = Exl3Parts(
        job=exllamav3.Job,
        sampler=_sampler(exllamav3, torch),
        logits_filter=type("Filter", (LogitsFilter, exllamav3.Filter), {}),
        tensor=functools.partial(torch.tensor, dtype=torch.long),
        mask_tensor=torch.from_numpy,
        array=_array,
    )
    config, model = _model(exllamav3, torch, folder)
    cache = exllamav3.Cache(model, max_num_tokens=pages * PAGE, max_batch_size=slots)
    for layer in cache.layers.values():
        layer.alloc(torch.device("cpu"))
    cache.initialized = True
    generator = exllamav3.Generator(
        model=model, cache=cache, tokenizer=exllamav3.Tokenizer.from_config(config),
        max_batch_size=slots, max_chunk_size=CHUNK,
    )  # fmt: skip
    return Exl3Backend(generator, parts)


@functools.cache
def _libraries():
    torch = importlib.import_module("torch")
    prebuilt.on_path(prebuilt.folder(torch.__version__, torch.version.cuda or "none"))
    if find_spec("exllamav3_ext") is None:
        extension = MagicMock(
            __spec__=ModuleSpec("exllamav3_ext", MagicMock(), origin="none.abi3.so"),
            count_match_tensor=count_match,
            partial_strings_match=partial_strings_match,
            generator_stage_decode=stage_decode,
        )
        sys.modules["exllamav3_ext"] = extension
    exllamav3 = importlib.import_module("exllamav3")
    sys.modules["exllamav3_ext"].cache_rotate = rotate  # a kernel
    # Pinned memory and waiting need a GPU.
    for name in ("empty", "zeros"):
        setattr(torch, name, functools.partial(_unpinned, getattr(torch, name)))
    torch.cuda.synchronize = lambda *_: None
    return exllamav3, torch


def _unpinned(make, *sizes, pin_memory=False, **more):
    del pin_memory
    return make(*sizes, **more)


def _sampler(exllamav3, torch):
    class Sampler(exllamav3.ComboSampler):
        """exllamav3's settings, sampled on the CPU."""

        def __init__(self, **given):
            super().__init__(**given)
            self.given = given

        def forward(self, logits, _past, number, tokenizer, *, logit_mask=None):
            row = logits[0, -1, : tokenizer.actual_vocab_size].float()
            if logit_mask is not None:
                bits = (logit_mask[0][:, None] >> torch.arange(32)) & 1
                row = row.masked_fill(bits.reshape(-1)[: len(row)] == 0, -torch.inf)
            if self.given["temperature"] == 0:
                return row.argmax()[None, None]
            kept = (row / self.given["temperature"]).softmax(0).sort(descending=True)
            weights = kept.values[: self.given["top_k"]]
            weights = weights[(weights.cumsum(0) - weights) < self.given["top_p"]]
            at = int((weights.cumsum(0) / weights.sum() < number / (1 << 32)).sum())
            return kept.indices[at][None, None]

    return Sampler


def _model(exllamav3, torch, folder):
    rule = Rule(folder)
    (folder / "config.json").write_text(json.dumps({**MODEL, "vocab_size": rule.size}))
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    config = exllamav3.Config.from_directory(str(folder))
    model = exllamav3.Model.from_config(config)
    rule = Rule(folder, padding=-rule.size % 32)

    def write(input_ids, params):
        """Write tokens where the block table says; return the whole past of each row."""
        (layer,) = params["cache"].layers.values()
        kept, rows = layer.k.view(-1, *layer.k.shape[2:])[:, 0, 0], []
        for at, ids in enumerate(input_ids):
            past = int(params["cache_seqlens"][at])
            where = places(torch, params["block_table"][at], past + len(ids))
            kept[where[past:]] = ids.to(kept.dtype)
            rows.append(kept[where].int().tolist())
        return rows

    def forward(input_ids, params):
        rows = write(input_ids, params)
        if any(rule.tells_story(tuple(rule.split(row)[0])) for row in rows):
            time.sleep(STEP_S)
        return torch.stack([torch.from_numpy(rule.logits(row)) for row in rows])[:, None]

    model.prefill, model.forward = write, forward
    return config, model


def stage_decode(arena, width, blocks, positions, _rope, ids, texts, pages, offsets):
    """Lay out one step of all rows, as the extension does."""
    count = len(blocks)
    for row, (block, position) in enumerate(zip(blocks, positions, strict=True)):
        line = arena[row * width : (row + 1) * width]
        line.zero_()[: block.numel()] = block.view(-1)[:width]
        arena[count * width + row] = position
        if texts:
            token = texts[row].view(-1)[position]
            ids[row, 0] = token
            pages[row].view(-1)[offsets[row]] = token


def rotate(cache, order, buffer):
    """Move pages in circles: the order holds pairs of a target and a source; -1 is the buffer."""
    flat = order.tolist()
    for target, source in zip(flat[::2], flat[1::2], strict=True):
        (buffer if target < 0 else cache[target]).copy_(buffer if source < 0 else cache[source])
