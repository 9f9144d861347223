"""Convert the packaged GGUF file to a folder for exllamav2: FP16 weights, config, tokenizer.

`python tests/gpu/models/smollm2.py FOLDER [GGUF]`. The packaged model is the only real model on the
package index, and it has llama.cpp's format. This undoes what llama.cpp changed: the names, the
quantization, and the order of the rows of Q and K, which llama.cpp pairs for the rotation of
positions. Needs gguf, safetensors and tokenizers.

Compared with llama.cpp's greedy text on the same file, 186 of 192 tokens are the first choice here
too, and the other six are within 0.31 of it (llama.cpp rounds activations to 8 bits). Without the
reordering of Q and K, half of them are not.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, quants
from safetensors.numpy import save_file
from words import field, write_words

_OUTER = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def convert(gguf: Path, folder: Path) -> None:
    """Write the folder of a GGUF of the llama architecture with a byte-level vocabulary."""
    reader = GGUFReader(gguf)
    config = config_of(reader)
    write_words(reader, folder)
    save_file(dict(tensors_of(reader, config)), folder / "model.safetensors", {"format": "pt"})
    # The last file: a folder with it is complete.
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def config_of(reader: GGUFReader) -> dict[str, Any]:
    """Return the config.json of the architecture, as Hugging Face writes it."""
    heads = field(reader, "llama.attention.head_count")
    width = field(reader, "llama.embedding_length")
    names = {tensor.name for tensor in reader.tensors}
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": width,
        "intermediate_size": field(reader, "llama.feed_forward_length"),
        "num_hidden_layers": field(reader, "llama.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": field(reader, "llama.attention.head_count_kv"),
        "head_dim": width // heads,
        "max_position_embeddings": field(reader, "llama.context_length"),
        "rms_norm_eps": float(field(reader, "llama.attention.layer_norm_rms_epsilon")),
        "rope_theta": float(field(reader, "llama.rope.freq_base")),
        "vocab_size": len(field(reader, "tokenizer.ggml.tokens")),
        "bos_token_id": field(reader, "tokenizer.ggml.bos_token_id"),
        "eos_token_id": field(reader, "tokenizer.ggml.eos_token_id"),
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": "output.weight" not in names,
        "torch_dtype": "float16",
    }


def tensors_of(reader: GGUFReader, config: dict[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield every tensor under its original name, in FP16, with its rows in original order."""
    for tensor in reader.tensors:
        weights = quants.dequantize(tensor.data, tensor.tensor_type)
        if tensor.name.endswith("attn_q.weight"):
            weights = unpermuted(weights, config["num_attention_heads"])
        elif tensor.name.endswith("attn_k.weight"):
            weights = unpermuted(weights, config["num_key_value_heads"])
        yield renamed(tensor.name), np.ascontiguousarray(weights, dtype=np.float16)


def renamed(name: str) -> str:
    """Return the original name: `model.layers.3.mlp.up_proj.weight` for `blk.3.ffn_up.weight`."""
    parts = name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{_INNER[parts[2]]}.{parts[3]}"
    return f"{_OUTER[parts[0]]}.{parts[1]}"


def unpermuted(weights: np.ndarray, heads: int) -> np.ndarray:
    """Reorder the rows of each head from (0, n/2, 1, n/2 + 1, ...) to (0, 1, 2, ...)."""
    rows, columns = weights.shape
    pairs = weights.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def main() -> None:
    """Convert the given file, or the packaged one."""
    if len(sys.argv) > 2:
        gguf = Path(sys.argv[2])
    else:
        sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))
        from forebay.workers.engines.llamacpp.gguf import packaged_gguf  # noqa: PLC0415 - on the path now

        gguf = packaged_gguf()
    convert(gguf, Path(sys.argv[1]))


if __name__ == "__main__":
    main()
