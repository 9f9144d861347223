"""`forebay models convert`: checks before hours of work, and the arguments of the converter.

The conversion itself needs a GPU. Here the converter's own parser, from the pinned wheel, reads the
command line; and the converter is started for real, and fails because there is no GPU.
"""

import argparse
import ast
import json
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
from typer.testing import CliRunner

from checkpoint import write_config, write_exl2, write_safetensors
from forebay.routing.errors import EngineUnavailable, Misconfigured, Unavailable
from forebay.workers.commands import models
from forebay.workers.engines.gpu import converter, probe
from forebay.workers.models.conversion import HEAD_BITS, Conversion

SMALL = (2, 64, 128, 4, 2, 16, 100)
WHEEL = distribution("exllamav2")


def source_of(name):
    return Path(WHEEL.locate_file(f"exllamav2/conversion/{name}")).read_text()


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "small"
    write_config(folder, SMALL)
    tensors = {f"model.layers.{n}.mlp.up_proj.weight": ("BF16", [128, 64]) for n in range(2)}
    write_safetensors(folder / "model.safetensors", tensors)
    (folder / "tokenizer.json").write_text("{}")
    return folder


@pytest.fixture
def job(source, tmp_path):
    return Conversion(source, tmp_path / "small-exl2", tmp_path / "work", 4.5)


@pytest.fixture
def able(monkeypatch):
    """Let this machine pass as one with a GPU, until the converter starts."""
    monkeypatch.setattr(probe, "examine_apart", lambda *, fallback: [])
    monkeypatch.setattr("forebay.workers.models.conversion._READERS", ())


def refused(job):
    with pytest.raises(Misconfigured) as caught:
        job.check()
    return caught.value


# --- arguments of the converter -------------------------------------------------------------------


@pytest.fixture(scope="module")
def parser():
    """The converter's own parser, made of its lines that add arguments."""
    made = argparse.ArgumentParser(exit_on_error=False)
    for node in ast.walk(ast.parse(source_of("convert_exl2.py"))):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
            exec(compile(ast.Expression(node), "parser", "eval"), {"parser": made})
    return made


def test_the_converter_understands_its_arguments(parser, job, tmp_path):
    more = {"calibration": tmp_path / "c.parquet", "measurement": tmp_path / "m.json"}
    full = Conversion(job.source, job.target, job.work, 4.5, 8, **more)
    parsed = vars(parser.parse_args(full.arguments()))
    plain = vars(parser.parse_args([]))
    assert {name: value for name, value in parsed.items() if value != plain[name]} == {
        "in_dir": str(job.source), "out_dir": str(job.work), "compile_full": str(job.part),
        "bits": 4.5, "head_bits": 8, "cal_dataset": str(tmp_path / "c.parquet"),
        "measurement": str(tmp_path / "m.json"),
    }  # fmt: skip
    assert vars(parser.parse_args(job.arguments()))["measurement"] is None


def test_the_bits_of_a_head_are_those_with_a_layout():
    (table,) = [
        node.value
        for node in ast.walk(ast.parse(source_of("qparams.py")))
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "qparams_headoptions"
    ]
    assert tuple(key.value for key in table.keys) == HEAD_BITS


def test_the_fields_of_a_job_file_are_those_of_the_converter():
    """`_check_resumable` reads them."""
    text = source_of("convert_exl2.py")
    assert '"job_new.json"' in text
    for name in ("in_dir", "bits", "head_bits", "compile_full", "progress"):
        assert f'"{name}": ' in text
    assert 'job["progress"] = "finished"' in text


# --- checks before it starts ----------------------------------------------------------------------


def test_a_good_source_is_accepted_and_nothing_is_written_yet(job, able):
    assert job.check().format == "fp16"
    assert not job.work.exists()


def test_a_quantized_source_is_refused(tmp_path, job, able):
    source = write_exl2(tmp_path / "done", SMALL, 4.0)
    error = refused(Conversion(source, job.target, job.work, 4.0))
    assert (error.field, "convert the original" in error.message) == (str(source), True)


def test_an_architecture_that_exllamav2_mistakes_is_refused(job, able):
    write_config(job.source, SMALL, architectures=["Gemma3ForCausalLM"])
    assert "no architecture" in refused(job).message


def test_dimensions_that_cannot_be_quantized_are_named(job, able):
    write_config(job.source, SMALL, intermediate_size=100)
    assert "intermediate_size is 100, no multiple of 32" in refused(job).message


def test_a_source_without_a_tokenizer_is_refused(job, able):
    (job.source / "tokenizer.json").unlink()
    assert refused(job).field == str(job.source / "tokenizer.json")


def test_nothing_is_overwritten(job, able):
    job.target.mkdir()
    assert refused(job).field == str(job.target)


def test_the_work_folder_is_no_other_folder(job, able):
    for work in (job.source, job.target):
        error = refused(Conversion(job.source, job.target, work, 4.5))
        assert error.field == str(work)
    job.work.mkdir()
    (job.work / "thesis.txt").write_text("all of it")
    assert refused(job).field == str(job.work)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, None),
        ({"bits": 5.0}, "another conversion (bits)"),
        ({"in_dir": "/elsewhere"}, "another conversion (in_dir)"),
        ({"progress": "finished"}, "another conversion (finished)"),
        ({"compile_full": None}, "another conversion (compile_full)"),
    ],
)
def test_an_interrupted_conversion_goes_on_and_another_is_not_mixed_with_it(
    job, able, change, says
):
    state = {
        "in_dir": str(job.source), "bits": 4.5, "head_bits": 6, "compile_full": str(job.part),
        "progress": "measure_quant",
    }  # fmt: skip
    job.work.mkdir()
    (job.work / "job_new.json").write_text(json.dumps(state | change))
    if says is None:
        job.check()
    else:
        assert says in refused(job).message


def test_a_disk_that_is_too_small_is_reported_first(job, able, monkeypatch):
    monkeypatch.setattr("forebay.workers.models.conversion.DISK_RESERVE_BYTES", 1 << 60)
    error = refused(job)
    # Two copies of the weights, the embedding, and the states of 115 rows of 2,048 tokens, twice.
    states = 2 * 115 * 2048 * 64 * 2
    assert f"{states >> 20} MiB are needed" in error.message
    assert error.field == str(job.work.parent)


def test_missing_files_and_impossible_heads_are_refused(job, able, tmp_path):
    wrong = tmp_path / "no.parquet"
    assert refused(Conversion(job.source, job.target, job.work, 4, calibration=wrong)).field == str(
        wrong
    )
    assert refused(Conversion(job.source, job.target, job.work, 4, 7)).field == "--head-bits"


def test_a_machine_that_cannot_convert_says_why_before_it_starts(job):
    """The reason is the first thing that this machine lacks."""
    failures = [one for one in probe.examine_apart(fallback=False) if one.state == "fail"]
    if not failures:
        pytest.skip("this machine can")
    with pytest.raises(EngineUnavailable) as caught:
        job.check()
    assert failures[0].seen in str(caught.value)
    assert not job.work.exists()


# --- the run --------------------------------------------------------------------------------------


def test_the_converters_own_process_checks_again(job, capfd):
    """Without a GPU the run ends with that reason, and leaves no half model."""
    if not [one for one in probe.examine_apart(fallback=False) if one.state == "fail"]:
        pytest.skip("this machine can convert")
    job.part.mkdir()
    (job.part / "output.safetensors").write_bytes(b"half")
    with pytest.raises(EngineUnavailable, match="the reason is above"):
        job.run()
    assert "torch" in capfd.readouterr().err
    assert not job.part.exists()


def script(monkeypatch, text):
    """Put a program of the test in place of the converter."""
    monkeypatch.setattr(
        converter,
        "command",
        lambda arguments, *, fallback: [sys.executable, "-c", text, *arguments],
    )


def test_a_converter_that_fails_can_be_called_again(job, monkeypatch):
    script(monkeypatch, "raise SystemExit(3)")
    with pytest.raises(Unavailable, match="exit code 3; the same command goes on"):
        job.run()
    assert not job.target.exists()


def test_a_converter_that_exits_with_0_and_wrote_nothing_has_failed(job, monkeypatch):
    """The converter exits with 0 after many of its errors."""
    script(monkeypatch, "print('## Error')")
    with pytest.raises(Unavailable, match="exit code 0"):
        job.run()


def test_an_incomplete_result_does_not_get_its_name(job, monkeypatch, tmp_path):
    made = write_exl2(tmp_path / "made", SMALL, 4.5)
    (made / "output.safetensors").unlink()
    script(monkeypatch, f"import shutil; shutil.copytree({str(made)!r}, {str(job.part)!r})")
    with pytest.raises(Misconfigured, match="safetensors"):
        job.run()
    assert not job.target.exists()


def test_a_whole_result_gets_its_name_and_loses_the_index_of_its_source(
    job, monkeypatch, tmp_path, capfd
):
    made = write_exl2(tmp_path / "made", SMALL, 4.5)
    (made / "model.safetensors.index.json").write_text('{"weight_map": {"a": "gone"}}')
    copy = f"import shutil; print('progress'); shutil.copytree({str(made)!r}, {str(job.part)!r})"
    script(monkeypatch, copy)
    shape = job.run()
    assert (shape.format, round(shape.bits, 2)) == ("exl2", 4.5)
    assert {file.name for file in job.target.iterdir()} == {"config.json", "output.safetensors"}
    assert not job.part.exists()
    assert capfd.readouterr() == ("", "progress\n")


def test_the_command_prints_the_result(source, tmp_path, able, monkeypatch):
    made = write_exl2(tmp_path / "made", SMALL, 4.5)
    target = tmp_path / "new"
    part = tmp_path / ".new.part"
    script(monkeypatch, f"import shutil; shutil.copytree({str(made)!r}, {str(part)!r})")
    call = ["convert", str(source), str(target), "--bits", "4.5"]
    checked = CliRunner().invoke(models.app, [*call, "--check"])
    assert (checked.exit_code, checked.stdout) == (0, "it can be done\n")
    assert not (tmp_path / "new.work").exists()
    result = json.loads(CliRunner().invoke(models.app, [*call, "--json"]).stdout)
    assert (result["model"], result["converted"], result["bits"]) == (str(target), True, 4.5)
    again = CliRunner().invoke(models.app, call)
    assert isinstance(again.exception, Misconfigured)
    assert CliRunner().invoke(models.app, [*call[:-1], "9"]).exit_code == 2
