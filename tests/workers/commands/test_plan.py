"""`forebay plan` as an operator meets it."""

import json
import os

import pytest
from typer.testing import CliRunner

from checkpoint import write_config, write_exl2, write_exl3, write_safetensors
from forebay.routing.errors import Misconfigured
from forebay.workers.commands import plan
from forebay.workers.engines.vram import card

QWEN_14B = (48, 5120, 13824, 40, 8, 128, 152064)


@pytest.fixture
def model(tmp_path):
    return write_exl2(tmp_path / "qwen-14b", QWEN_14B, 5.0)


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A program in place of nvidia-smi that prints what the test sets."""

    def install(answer, code=0):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        program = folder / "nvidia-smi"
        program.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/asked\necho {answer}\nexit {code}\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        return tmp_path / "asked"

    return install


def call(*args):
    return CliRunner().invoke(plan.app, [str(arg) for arg in args])


def test_the_document_holds_all_that_a_program_needs(model):
    result = call(model, "--vram-mib", 16380, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["fits"] is True
    assert report["weights_bytes"] == pytest.approx(8.27 * 2**30, rel=0.001)
    assert report["kv_bytes_per_token"] == {
        "fp16": 196608,
        "q8": 108544,
        "q6": 83968,
        "q4": 59392,
    }
    assert report["scratch_bytes"] == {"default": 1 << 30, "tuned": 275_775_488}
    assert report["max_cache_tokens"] == pytest.approx(
        {"fp16": 35_840, "q8": 65_024, "q6": 84_224, "q4": 119_296}, rel=0.003
    )
    assert report["recommended"] == {
        "cache_mode": "q8", "context": 4096, "batch": 15, "cache_tokens": 65_024,
        "max_dq_size": 5120 * 13824,
    }  # fmt: skip
    assert sum(report["plan"]["parts"].values()) == report["total_bytes"] <= report["vram_bytes"]
    assert report["remedies"] == []


def test_a_model_that_does_not_fit_ends_with_1_and_its_remedies(model):
    asked = ("--vram-mib", 16380, "--cache-mode", "fp16", "--context", 4096, "--batch", 16)
    report = json.loads(call(model, *asked, "--json").stdout)
    assert report["fits"] is False
    assert report["remedies"][0] == "--cache-mode q6"
    assert report["recommended"]["batch"] == 8
    result = call(model, *asked)
    assert result.exit_code == 1
    assert "Does not fit: 16 jobs of 4,096 tokens" in result.stdout
    assert "would fit: --cache-mode q6\n" in result.stdout
    assert "the largest that fits: --cache-mode fp16 --context 4096 --batch 8\n" in result.stdout
    for remedy in report["remedies"]:
        if remedy.startswith("--"):
            option, value = remedy.split()
            changed = dict(zip(asked[::2], asked[1::2], strict=True)) | {option: value}
            again = call(model, *(word for pair in changed.items() for word in pair))
            assert again.exit_code == 0, remedy


def test_the_table_shows_every_part_and_their_sum(model):
    result = call(model, "--vram-mib", 16380)
    assert result.exit_code == 0
    assert "qwen-14b: LlamaForCausalLM, exl2, 5.00 bits a weight" in " ".join(
        result.stdout.replace("\n", " ").split()
    )
    for part in ("weights", "cache", "scratch", "rope", "states", "CUDA context", "slack", "card"):
        assert part in result.stdout
    assert "Fits: 15 jobs of 4,096 tokens at once" in result.stdout


def test_memory_for_other_programs_is_set_aside(model):
    whole, less = (
        json.loads(call(model, "--vram-mib", 16380, *more, "--json").stdout)
        for more in ((), ("--reserve-mib", 1000))
    )
    assert whole["vram_bytes"] - less["vram_bytes"] == 1000 << 20
    assert less["max_cache_tokens"]["q8"] < whole["max_cache_tokens"]["q8"]


def test_the_driver_is_asked_for_the_size_of_the_card(model, driver, monkeypatch):
    asked = driver("16380")
    assert json.loads(call(model, "--json").stdout)["vram_bytes"] == 16380 << 20
    assert asked.read_text().startswith("--id=0 --query-gpu=memory.total")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1234,0")
    card.card_bytes()
    assert asked.read_text().startswith("--id=GPU-1234 ")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert card.card_bytes() is None


@pytest.mark.parametrize(("answer", "code"), [("[N/A]", 0), ("", 0), ("No devices found", 6)])
def test_without_a_card_its_size_must_be_given(model, driver, answer, code):
    driver(answer, code)
    result = call(model, "--json")
    assert isinstance(result.exception, Misconfigured)
    assert result.exception.field == "--vram-mib"


def test_a_machine_without_the_driver_says_so(model, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert call(model).exception.field == "--vram-mib"


def test_a_folder_without_a_model_is_named(tmp_path):
    error = call(tmp_path, "--vram-mib", 16380, "--json").exception
    assert isinstance(error, Misconfigured)
    assert error.field == str(tmp_path / "config.json")


def test_a_context_beyond_the_models_own_is_refused(model):
    result = call(model, "--vram-mib", 16380, "--context", 200_000)
    assert isinstance(result.exception, Misconfigured)
    assert "131072" in str(result.exception)


# --- EXL3 -----------------------------------------------------------------------------------------

QWEN3_14B = (40, 5120, 17408, 40, 8, 128, 151936)


@pytest.fixture
def exl3(tmp_path):
    return write_exl3(tmp_path / "exl3", QWEN3_14B, 5, architectures=["Qwen3ForCausalLM"])


def test_an_exl3_folder_is_recognized_and_its_document_has_the_same_keys(exl3, model):
    args = ("--vram-mib", 16380, "--json")
    report, other = (json.loads(call(folder, *args).stdout) for folder in (exl3, model))
    assert report.keys() == other.keys()
    assert (report["engine"], report["format"], other["engine"]) == ("exl3", "exl3", "exl2")
    assert report["fits"] is True
    # No layer is unpacked: 40 layers of 1,024 keys and values, 4, 2.125, 1.625 and 1.125 bytes.
    kept = {"fp16": 163_840, "q8": 87_040, "q6": 66_560, "q4": 46_080}
    assert report["kv_bytes_per_token"] == kept
    assert report["scratch_bytes"]["default"] == report["scratch_bytes"]["tuned"] > 300 << 20
    best = report["recommended"]
    assert best["max_dq_size"] is None
    assert best["cache_tokens"] >= best["batch"] * (best["context"] + 256)
    assert (
        report["max_cache_tokens"]["q8"] * kept["q8"]
        < report["vram_bytes"] - report["weights_bytes"]
    )
    assert sum(report["plan"]["parts"].values()) == report["total_bytes"] <= report["vram_bytes"]


def test_an_exl3_model_that_does_not_fit_gets_remedies(exl3):
    asked = ("--vram-mib", 16380, "--cache-mode", "fp16", "--context", 8192, "--batch", 16)
    result = call(exl3, *asked)
    assert result.exit_code == 1
    assert "exl3: Qwen3ForCausalLM, exl3," in " ".join(result.stdout.replace("\n", " ").split())
    assert "max_dq_size" not in result.stdout
    assert "the largest that fits: --cache-mode fp16 --context 8192 --batch" in result.stdout
    remedy = next(line.split()[2:] for line in result.stdout.splitlines() if "--context" in line)
    again = call(exl3, *asked[:-3], remedy[1], *asked[-2:])
    assert again.exit_code == 0, again.output


def test_an_fp16_model_is_planned_for_the_engine_that_is_given(tmp_path):
    write_config(tmp_path, (1, 64, 128, 4, 2, 32, 100))
    weights = {"model.layers.0.mlp.up_proj.weight": ("F16", [128, 64])}
    write_safetensors(tmp_path / "model.safetensors", weights)
    for more, engine in (((), "exl2"), (("--engine", "exl3"), "exl3")):
        report = json.loads(call(tmp_path, *more, "--vram-mib", 4000, "--json").stdout)
        assert (report["engine"], report["format"]) == (engine, "fp16")


def test_a_model_that_cannot_be_planned_ends_with_one_error_and_its_fix(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    error = call(tmp_path, "--vram-mib", 16380).exception
    assert isinstance(error, Misconfigured)
    assert "FOREBAY_ENGINE=llamacpp" in str(error)


def test_rotary_positions_that_the_engine_would_not_compute_are_refused_by_name(model, exl3):
    for folder in (model, exl3):
        config = json.loads((folder / "config.json").read_text())
        config.pop("rope_theta", None)
        config["rope_parameters"] = {
            "rope_theta": 1_000_000.0, "rope_type": "yarn", "factor": 4.0,
            "original_max_position_embeddings": 32_768,
        }  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config))
    result = call(model, "--vram-mib", 16380)
    assert result.exit_code != 0
    said = str(result.exception) if isinstance(result.exception, Misconfigured) else result.output
    assert "rope_parameters: exllamav2 does not" in said
    assert "rope_scaling" in said
    assert call(exl3, "--vram-mib", 16380).exit_code == 0
