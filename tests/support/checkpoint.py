"""Model folders of any size without weights: real headers in sparse files."""

import json
import math
from itertools import accumulate

WIDTHS = {"U8": 1, "I16": 2, "F16": 2, "BF16": 2, "I32": 4, "F32": 4}


def write_safetensors(path, tensors):
    """Write a file with these tensors (name to dtype and shape), of its full length but empty."""
    sizes = [WIDTHS[dtype] * math.prod(shape) for dtype, shape in tensors.values()]
    ends = list(accumulate(sizes))
    header = {
        name: {"dtype": dtype, "shape": list(shape), "data_offsets": [end - size, end]}
        for (name, (dtype, shape)), size, end in zip(tensors.items(), sizes, ends, strict=True)
    }
    write_header(path, {"__metadata__": {"format": "pt"}, **header}, ends[-1] if ends else 0)


def write_header(path, header, length):
    """Write a file with this header and `length` bytes after it."""
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + length)


def write_config(folder, dimensions, **more):
    """Write a config.json as Hugging Face does.

    Args:
        folder: created if it is missing.
        dimensions: layers, hidden size, intermediate size, heads, key-value heads, width of a
            head, vocabulary.
        more: further fields of the file.
    """
    layers, hidden, intermediate, heads, kv_heads, head_dim, vocab = dimensions
    config = {
        "architectures": ["LlamaForCausalLM"], "num_hidden_layers": layers,
        "hidden_size": hidden, "intermediate_size": intermediate, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "head_dim": head_dim, "vocab_size": vocab,
        "max_position_embeddings": 131_072,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config | more))


def write_exl2(folder, dimensions, bits, *, prefix="", **more):
    """Write an EXL2 model with `bits` a weight in its layers, and a head of 6 bits (6.33)."""
    layers, hidden, intermediate, heads, kv_heads, head_dim, vocab = dimensions
    weights = hidden * (2 * heads * head_dim + 2 * kv_heads * head_dim + 3 * intermediate)
    padded = -(-vocab // 32) * 32
    write_config(folder, dimensions, quantization_config={"quant_method": "exl2"}, **more)
    sizes = {
        f"{prefix}model.layers.{n}.self_attn.q_proj.q_weight": int(weights * bits / 8)
        for n in range(layers)
    }
    sizes[f"{prefix}lm_head.q_weight"] = int(hidden * padded * 6.33 / 8)
    tensors = {name: ("U8", [size]) for name, size in sizes.items()}
    tensors[f"{prefix}model.embed_tokens.weight"] = ("F16", [vocab, hidden])
    write_safetensors(folder / "output.safetensors", tensors)
    return folder


def write_exl3(folder, dimensions, bits, *, prefix="model.", head_bits=6, **more):
    """Write an EXL3 model, its matrices as exllamav3 stores them; `head_bits=0` ties the head."""
    layers, hidden, intermediate, heads, kv_heads, head_dim, vocab = dimensions
    queries, keys = heads * head_dim, kv_heads * head_dim
    write_config(folder, dimensions, quantization_config={"quant_method": "exl3"}, **more)
    tensors = {f"{prefix}embed_tokens.weight": ("F16", [vocab, hidden])}
    for n in range(layers):
        layer = f"{prefix}layers.{n}."
        tensors[f"{layer}input_layernorm.weight"] = ("F16", [hidden])
        for name, rows, columns in (
            ("self_attn.q_proj", hidden, queries), ("self_attn.k_proj", hidden, keys),
            ("self_attn.v_proj", hidden, keys), ("self_attn.o_proj", queries, hidden),
            ("mlp.gate_proj", hidden, intermediate), ("mlp.up_proj", hidden, intermediate),
            ("mlp.down_proj", intermediate, hidden),
        ):  # fmt: skip
            tensors |= _trellis(layer + name, rows, columns, bits)
    if head_bits:
        tensors |= _trellis("lm_head", hidden, -(-vocab // 128) * 128, head_bits)
    write_safetensors(folder / "model.safetensors", tensors)
    return folder


def _trellis(name, rows, columns, bits):
    return {
        f"{name}.trellis": ("I16", [rows // 16, columns // 16, 16 * bits]),
        f"{name}.suh": ("F16", [rows]),
        f"{name}.svh": ("F16", [columns]),
    }
