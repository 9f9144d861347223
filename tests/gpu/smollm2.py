"""Makes of the packaged GGUF file a folder that exllamav2 loads: FP16 weights, config, tokenizer.

`python tests/gpu/smollm2.py FOLDER [GGUF]`. The packaged model is the only real one that comes from
a package index alone, and it is in llama.cpp's format. Undone here is all that llama.cpp did to it:
names, quantization, and the order of rows of Q and K, which it changed so that the two rows that a
rotation turns lie side by side. Needs gguf, safetensors and tokenizers.

Checked against llama.cpp's own greedy text on the same file: 186 of 192 tokens are the first choice
here too, the other six within 0.31 of it (it rounds activations to 8 bits). With rows of Q and K
left as they are, half of them are not.
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
from words import field, tokenizer_config_of, tokenizer_of

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
    """Write the folder; the GGUF must be of the llama architecture with a byte-level vocabulary."""
    reader = GGUFReader(gguf)
    folder.mkdir(parents=True, exist_ok=True)
    config = config_of(reader)
    save_file(dict(tensors_of(reader, config)), folder / "model.safetensors", {"format": "pt"})
    tokenizer_of(reader).save(str(folder / "tokenizer.json"))
    ends = {"bos_token_id": config["bos_token_id"], "eos_token_id": config["eos_token_id"]}
    for name, content in (
        ("config.json", config),
        ("generation_config.json", ends),
        ("tokenizer_config.json", tokenizer_config_of(reader)),
    ):
        (folder / name).write_text(json.dumps(content, indent=1) + "\n")


def config_of(reader: GGUFReader) -> dict[str, Any]:
    """config.json, as Hugging Face has it for the architecture."""
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
    """Every tensor under its own name, in FP16 and in the rows' own order."""
    for tensor in reader.tensors:
        weights = quants.dequantize(tensor.data, tensor.tensor_type)
        if tensor.name.endswith("attn_q.weight"):
            weights = unpermuted(weights, config["num_attention_heads"])
        elif tensor.name.endswith("attn_k.weight"):
            weights = unpermuted(weights, config["num_key_value_heads"])
        yield renamed(tensor.name), np.ascontiguousarray(weights, dtype=np.float16)


def renamed(name: str) -> str:
    """`blk.3.attn_q.weight` is `model.layers.3.self_attn.q_proj.weight`."""
    parts = name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{_INNER[parts[2]]}.{parts[3]}"
    return f"{_OUTER[parts[0]]}.{parts[1]}"


def unpermuted(weights: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head from (0, n/2, 1, n/2 + 1, ...) back to (0, 1, 2, ...)."""
    rows, columns = weights.shape
    pairs = weights.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def main() -> None:
    """Convert the file given, or the packaged one."""
    if len(sys.argv) > 2:
        gguf = Path(sys.argv[2])
    else:
        sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
        from forebay.workers.engines.llamacpp.gguf import packaged_gguf  # noqa: PLC0415 - found just now

        gguf = packaged_gguf()
    convert(gguf, Path(sys.argv[1]))


if __name__ == "__main__":
    main()
