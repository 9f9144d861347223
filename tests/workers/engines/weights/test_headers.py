"""Reading model folders, and every way in which one can be broken."""

import json
import re
from contextlib import suppress
from importlib.metadata import distribution

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpoint import write_config, write_exl2, write_header, write_safetensors
from forebay.routing.errors import Misconfigured
from forebay.workers.engines.weights import headers
from forebay.workers.engines.weights.exl2_architecture import ARCHITECTURES
from forebay.workers.engines.weights.headers import Tensor, read_tensors
from forebay.workers.engines.weights.model_shape import read_shape

SMALL = (2, 64, 128, 4, 2, 16, 100)
FIELDS = {"dtype": "F16", "shape": [4, 8], "data_offsets": [0, 64]}


def refused(folder, match):
    with pytest.raises(Misconfigured, match=match) as caught:
        read_shape(folder)
    assert str(folder) in caught.value.field
    return caught.value.field


def layers(prefix="model.layers.", count=2, dtype="F16"):
    return {f"{prefix}{n}.mlp.up_proj.weight": (dtype, [128, 64]) for n in range(count)}


# --- headers --------------------------------------------------------------------------------------


def test_tensors_of_all_files_are_read(tmp_path):
    write_safetensors(tmp_path / "a.safetensors", {"one": ("F16", [3, 4]), "two": ("I32", [])})
    write_safetensors(tmp_path / "b.safetensors", {"none": ("F32", [0, 7])})
    assert read_tensors(tmp_path) == {
        "one": Tensor("F16", (3, 4), 24),
        "two": Tensor("I32", (), 4),
        "none": Tensor("F32", (0, 7), 0),
    }


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "no safetensors file"),
        (b"\x08\0\0\0", "no safetensors file"),
        (b"\0" * 20, "no safetensors file"),
        (b"\xff" * 20, "no safetensors file"),
        (b"GGUF" + b"\0" * 100, "no safetensors file|holds no JSON"),
        ((9).to_bytes(8, "little") + b"[1, 2, 3]", "holds no JSON object"),
        ((9).to_bytes(8, "little") + b"not json!", "holds no JSON$"),
        ((6).to_bytes(8, "little") + b'"\xff\xff\xff"' + b"  ", "holds no JSON$"),
        ((100_000).to_bytes(8, "little") + b"[" * 100_000, "holds no JSON$"),
    ],
)
def test_a_file_that_is_no_safetensors_is_named(tmp_path, content, text):
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(Misconfigured, match=text) as caught:
        read_tensors(tmp_path)
    assert caught.value.field == str(file)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"dtype": "Q3"}, "unknown type"),
        ({"dtype": 3}, "not a tensor's"),
        ({"shape": [-4, -8]}, "no whole number"),
        ({"shape": [4, 9]}, "not that of its shape"),
        ({"shape": "4"}, "not a tensor's"),
        ({"shape": [True, 32]}, "no whole number"),
        ({"shape": [4.0, 8]}, "no whole number"),
        ({"shape": [10**400, 8]}, "not that of its shape"),
        ({"shape": [1] * 15 + [4, 8]}, "not that of its shape"),
        ({"data_offsets": [0, 64, 65]}, "not a tensor's"),
        ({"data_offsets": [0, 63]}, "not that of its shape"),
        ({"data_offsets": [-64, 0]}, "no whole number"),
        ({"data_offsets": "ab"}, "not a tensor's"),
        ({"data_offsets": [64, 128]}, "28 bytes are missing"),
    ],
)
def test_an_impossible_entry_is_refused(tmp_path, fields, says):
    write_header(tmp_path / "model.safetensors", {"one": FIELDS | fields}, 100)
    with pytest.raises(Misconfigured, match=says):
        read_tensors(tmp_path)


@given(st.binary(max_size=400), st.integers(0, 400))
def test_no_bytes_raise_anything_else(tmp_path_factory, content, length):
    folder = tmp_path_factory.mktemp("fuzz")
    for text in (content, length.to_bytes(8, "little") + content):
        (folder / "model.safetensors").write_bytes(text)
        with suppress(Misconfigured):
            read_tensors(folder)


def test_a_header_is_not_read_beyond_its_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(headers, "MAX_HEADER_BYTES", 50)
    write_safetensors(tmp_path / "a.safetensors", {"one": ("F16", [3, 4])})
    with pytest.raises(Misconfigured, match="no safetensors file"):
        read_tensors(tmp_path)


def test_a_missing_shard_is_named(tmp_path):
    folder = write_exl2(tmp_path / "m", SMALL, 4.0)
    index = {"weight_map": {"a": "output.safetensors", "b": "other.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert refused(folder, "missing").endswith("/other.safetensors")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": [1]}')
    refused(folder, "no weight_map")


def test_a_missing_shard_shows_in_the_numbers_of_the_others(tmp_path):
    folder = write_exl2(tmp_path / "m", SMALL, 4.0)
    (folder / "output.safetensors").rename(folder / "output-00001-of-00002.safetensors")
    assert refused(folder, "missing").endswith("/output-00002-of-00002.safetensors")


def test_an_index_of_the_source_model_is_ignored(tmp_path):
    folder = write_exl2(tmp_path / "m", SMALL, 4.0)
    index = {"weight_map": {"a": "model-00001-of-00001.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert read_shape(folder).format == "exl2"


def test_a_missing_shard_that_no_index_names_shows_in_its_layers(tmp_path):
    write_config(tmp_path, SMALL)
    write_safetensors(tmp_path / "one.safetensors", layers(count=1))
    refused(tmp_path, "no weights of layer 1 of 2")


def test_gguf_is_refused_with_the_engine_that_runs_it(tmp_path):
    write_config(tmp_path, SMALL)
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    for place in (tmp_path, file):
        with pytest.raises(Misconfigured, match="GGUF, which is not planned: llamacpp") as caught:
            read_shape(place)
        assert caught.value.field == str(place)
    write_exl2(tmp_path, SMALL, 4.0)
    assert read_shape(tmp_path).format == "exl2"


# --- config.json ----------------------------------------------------------------------------------


def test_a_folder_without_a_model_is_refused_with_what_is_missing(tmp_path):
    assert refused(tmp_path, "cannot be read").endswith("config.json")
    write_config(tmp_path, SMALL)
    refused(tmp_path, r"holds no \*.safetensors")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"architectures": ["Gemma3ForCausalLM"]}, "no architecture that exllamav2 knows"),
        ({"architectures": []}, "exactly one"),
        ({"architectures": ["LlamaForCausalLM", "OtherForCausalLM"]}, "exactly one"),
        ({"architectures": [7]}, "exactly one"),
        ({"architectures": None}, "exactly one"),
        ({"hidden_size": "64"}, "hidden_size must be a number"),
        ({"hidden_size": True}, "hidden_size must be a number"),
        ({"hidden_size": 64.5}, "hidden_size must be a whole number"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be"),
        ({"num_hidden_layers": None}, "does not say num_hidden_layers"),
        ({"vocab_size": 1 << 60}, "vocab_size must be"),
        ({"vocab_size": float("nan")}, "vocab_size must be"),
        ({"quantization_config": {"quant_method": "awq"}}, "is 'awq', which no engine here loads"),
        ({"quantization_config": {"quant_method": ["exl2"]}}, "must be exl2, exl3 or gptq"),
        ({"quantization_config": "exl2"}, "take an EXL2 or EXL3 conversion"),
    ],
)
def test_a_config_that_cannot_be_planned_is_refused(tmp_path, more, says):
    write_config(tmp_path, SMALL, **more)
    write_safetensors(tmp_path / "model.safetensors", layers())
    assert refused(tmp_path, says).endswith("config.json")


def test_an_unknown_architecture_is_refused_with_the_known_ones(tmp_path):
    write_config(tmp_path, SMALL, architectures=["SmolLM3ForCausalLM"])
    with pytest.raises(Misconfigured) as caught:
        read_shape(tmp_path)
    assert all(name in caught.value.message for name in ARCHITECTURES)


def test_the_architectures_are_those_of_the_library():
    """The names that the source of the pinned wheel compares an architecture with."""
    source = distribution("exllamav2").locate_file("exllamav2/architecture.py").read_text()
    named = set(re.findall(r'"(\w+(?:ForCausalLM|ForConditionalGeneration|LMHeadModel))"', source))
    assert named == set(ARCHITECTURES)


# --- sizes ---------------------------------------------------------------------------------------


def shape_of(folder, tensors, **more):
    write_config(folder, SMALL, **more)
    write_safetensors(folder / "model.safetensors", tensors)
    return read_shape(folder)


def test_the_embedding_stays_in_memory_and_a_tied_head_is_loaded_again(tmp_path):
    embedding = {"model.embed_tokens.weight": ("F16", [100, 64])}
    head = {"lm_head.weight": ("F16", [100, 64])}
    body = 2 * 128 * 64 * 2
    untied = shape_of(tmp_path / "a", layers() | embedding | head)
    assert (untied.weights_bytes, untied.embedding_bytes) == (body + 12_800, 12_800)
    tied = shape_of(tmp_path / "b", layers() | embedding, tie_word_embeddings=True)
    assert tied.weights_bytes == body + 128 * 64 * 2  # the vocabulary rounded up to 32
    assert tied.layers_bytes == body


def test_fp32_weights_become_fp16_on_the_card(tmp_path):
    head = {"lm_head.weight": ("F16", [100, 64])}
    narrow = shape_of(tmp_path / "a", layers(dtype="BF16") | head)
    wide = shape_of(tmp_path / "b", layers(dtype="F32") | head)
    assert wide.weights_bytes == narrow.weights_bytes


def test_only_the_language_model_of_a_vision_model_is_counted(tmp_path):
    language = layers("language_model.model.layers.") | {
        "language_model.model.embed_tokens.weight": ("F16", [100, 64]),
        "language_model.lm_head.weight": ("F16", [100, 64]),
    }
    other = {
        "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight": ("F16", [999, 99]),
        "multi_modal_projector.weight": ("F16", [64, 64]),
    }
    text = {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128}
    (tmp_path / "config.json").write_text(
        json.dumps(
            {"architectures": ["Gemma3ForConditionalGeneration"], "text_config": text}
        )
    )  # fmt: skip
    write_safetensors(tmp_path / "model.safetensors", language | other)
    shape = read_shape(tmp_path)
    assert shape.weights_bytes == 2 * 128 * 64 * 2 + 12_800
    assert (shape.heads, shape.kv_heads, shape.head_dim, shape.vocab) == (8, 4, 256, 262_208)
    assert (shape.rope_tables, shape.wide_residual) == (2, True)


def test_a_second_copy_of_the_weights_in_another_layout_is_not_counted(tmp_path):
    folder = tmp_path
    alone = shape_of(folder, layers() | {"lm_head.weight": ("F16", [100, 64])})
    copy = {"layers.0.attention.wq.weight": ("F16", [64, 64]), "output.weight": ("F16", [100, 64])}
    write_safetensors(folder / "consolidated.safetensors", copy)
    assert read_shape(folder) == alone


def test_experts_are_counted_with_their_own_width(tmp_path):
    shape = shape_of(
        tmp_path, layers(), architectures=["Qwen3MoeForCausalLM"], num_experts=8,
        moe_intermediate_size=32,
    )  # fmt: skip
    assert (shape.experts, shape.intermediate) == (8, 32)


def test_other_names_of_the_dimensions_are_read(tmp_path):
    gpt2 = {
        "architectures": ["GPT2LMHeadModel"], "n_layer": 2, "n_embd": 64, "n_head": 4,
        "n_inner": None, "n_positions": 1024, "vocab_size": 100,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(gpt2))
    write_safetensors(
        tmp_path / "model.safetensors",
        layers("h.") | {"wte.weight": ("F16", [100, 64]), "wpe.weight": ("F16", [1024, 64])},
    )
    shape = read_shape(tmp_path)
    assert (shape.intermediate, shape.head_dim, shape.kv_heads) == (256, 16, 4)
    assert shape.max_context == 1024
    assert shape.weights_bytes == 2 * 128 * 64 * 2 + 1024 * 64 * 2 + 128 * 64 * 2
