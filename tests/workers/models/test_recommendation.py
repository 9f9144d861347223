"""`forebay models recommend`: the list, held against the planner and against model folders."""

import json
import re

import pytest
from typer.testing import CliRunner

from checkpoint import write_exl2, write_exl3
from forebay.workers.commands import models
from forebay.workers.engines.vram import planner
from forebay.workers.engines.weights.model_shape import read_shape
from forebay.workers.models import catalogue
from forebay.workers.models.recommendation import candidates, recommendations

CARD = 16_380 << 20
FOLDERS = [one for one in candidates() if one.format != "gguf"]
WRITE = {"exl2": write_exl2, "exl3": write_exl3}


def recommend(*args):
    return CliRunner().invoke(models.app, ["recommend", *args])


def test_every_entry_says_where_it_comes_from():
    assert {one.format for one in candidates()} == {"exl2", "exl3", "gguf"}
    assert len({one.name for one in candidates()}) == len(candidates())
    for one in candidates():
        assert one.licence
        assert re.fullmatch(r"\w[\w.-]*", one.revision)
        assert re.fullmatch(r"https://huggingface\.co/[\w.-]+/[\w.-]+", one.source)
        found = catalogue.find(one.name)
        assert found.revision == one.revision
        assert one.source.endswith(found.repo)


@pytest.mark.parametrize("one", FOLDERS, ids=lambda one: one.name)
def test_the_plan_is_that_of_the_models_folder(one, tmp_path):
    """The facts of the list give the plan that the headers of such a folder give."""
    shape = one.shape
    dimensions = (
        shape.layers, shape.hidden, shape.intermediate, shape.heads, shape.kv_heads,
        shape.head_dim, shape.vocab,
    )  # fmt: skip
    bits = int(one.shape.bits) if one.format == "exl3" else one.shape.bits
    more = {
        "architectures": [shape.architecture], "max_position_embeddings": shape.max_context,
    }  # fmt: skip
    real = read_shape(WRITE[one.format](tmp_path / "model", dimensions, bits, **more))
    assert real.engine == shape.engine
    assert real.bits == pytest.approx(shape.bits, rel=0.01)
    assert real.weights_bytes == pytest.approx(shape.weights_bytes, rel=0.01)
    assert real.embedding_bytes == shape.embedding_bytes
    ours, theirs = planner.plan(shape, CARD), planner.plan(real, CARD)
    assert (ours.cache_mode, ours.context) == (theirs.cache_mode, theirs.context)
    assert ours.batch == pytest.approx(theirs.batch, abs=1)


@pytest.mark.parametrize("mib", [4_000, 8_188, 12_282, 16_380, 24_564])
def test_what_is_recommended_fits_with_a_usual_context_and_nothing_else_does(mib):
    found = recommendations(mib << 20)
    assert all(one.plan.fits and one.plan.total_bytes <= mib << 20 for one in found)
    names = {one.model.name for one in found}
    for one in candidates():
        mode = "fp16" if one.format == "gguf" else None
        plan = planner.plan(one.shape, mib << 20, cache_mode=mode)
        useful = plan.fits and plan.context >= planner.TYPICAL_CONTEXT
        assert useful == (one.name in names)


def test_the_command_names_the_plan_and_how_to_get_the_model():
    rows = json.loads(recommend("--vram-mib", "16380", "--json").stdout)
    assert {row["format"] for row in rows} == {"exl2", "exl3", "gguf"}
    for row in rows:
        assert row["context"] >= planner.TYPICAL_CONTEXT
        assert row["batch"] >= 4
        assert row["total_bytes"] <= CARD
        assert row["pull"] == f"forebay models pull {row['name']}"
        assert row["settings"]["FOREBAY_SLOTS"] == str(row["batch"])
    table = recommend("--vram-mib", "16380").stdout.splitlines()
    assert len(table) == len(rows) + 1
    assert all(row["name"] in line for row, line in zip(rows, table[1:], strict=True))


def test_a_card_that_holds_no_model_is_reported(monkeypatch, tmp_path):
    result = recommend("--vram-mib", "900")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no model of the list fits 900 MiB" in result.stderr
    monkeypatch.setenv("PATH", str(tmp_path))
    assert recommend().exception.field == "--vram-mib"
