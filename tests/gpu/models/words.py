"""Convert the tokenizer of a GGUF file to Hugging Face's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

_SPECIAL_TYPES = {3, 4}  # of llama.cpp's tokens: control, user defined


class Head(Protocol):
    """The metadata of a GGUF file; `gguf.GGUFReader` implements it."""

    def get_field(self, key: str) -> Any:
        """Return an object with `contents()`, or `None`."""


def write_words(reader: Head, folder: Path) -> None:
    """Write the tokenizer with its settings."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer_of(reader).save(str(folder / "tokenizer.json"))
    ends = {key: field(reader, f"tokenizer.ggml.{key}") for key in ("bos_token_id", "eos_token_id")}
    for name, content in (
        ("generation_config.json", ends),
        ("tokenizer_config.json", tokenizer_config_of(reader)),
    ):
        (folder / name).write_text(json.dumps(content, indent=1) + "\n")


def tokenizer_of(reader: Head) -> Tokenizer:
    """Return a byte-level BPE that splits digits, which llama.cpp calls `smollm`."""
    if field(reader, "tokenizer.ggml.pre") != "smollm":
        raise SystemExit("only the pre-tokenizer `smollm` is supported")
    words = field(reader, "tokenizer.ggml.tokens")
    merges = [tuple(pair.split(" ", 1)) for pair in field(reader, "tokenizer.ggml.merges")]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [digits, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    types = field(reader, "tokenizer.ggml.token_type")
    special = [word for word, kind in zip(words, types, strict=True) if kind in _SPECIAL_TYPES]
    tokenizer.add_special_tokens([AddedToken(word, normalized=False) for word in special])
    return tokenizer


def tokenizer_config_of(reader: Head) -> dict[str, Any]:
    """Return the tokenizer_config.json, with the chat template."""
    words = field(reader, "tokenizer.ggml.tokens")
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "bos_token": words[field(reader, "tokenizer.ggml.bos_token_id")],
        "eos_token": words[field(reader, "tokenizer.ggml.eos_token_id")],
        "model_max_length": field(reader, "llama.context_length"),
        "chat_template": field(reader, "tokenizer.chat_template"),
    }


def field(reader: Head, name: str) -> Any:
    """Return a value of the metadata."""
    value = reader.get_field(name)
    if value is None:
        raise SystemExit(f"the GGUF has no {name}")
    return value.contents()
