"""Rounding to EXL2, undone with the arithmetic of exllamav2's kernels."""

import importlib
import sys

import numpy as np
import pytest

from local.fleet import ROOT


@pytest.fixture
def roundedexl2(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests/gpu/models"))
    yield importlib.import_module("roundedexl2")
    del sys.modules["roundedexl2"]


def restored(made, key):
    """Return the matrix that a kernel would see: inputs as rows."""
    words = made[f"{key}.q_weight"].view(np.uint32)
    numbers = np.stack([words >> shift & 255 for shift in (0, 8, 16, 24)], axis=1)
    numbers = numbers.reshape(-1, words.shape[1]).astype(np.float32)
    scales = made[f"{key}.q_scale"].view(np.uint32)
    steps = np.stack([scales >> shift & 15 for shift in range(0, 32, 4)], axis=2)
    steps = steps.reshape(len(scales), -1).astype(np.float32) + 1
    scales = steps**2 / 256 * made[f"{key}.q_scale_max"].astype(np.float32)[:, None]
    bits, starts = made[f"{key}.q_groups"].reshape(-1, 2).T
    assert set(bits) == {8}
    group = (starts[1] - starts[0]) * 4
    return (numbers - 128) * np.repeat(scales, group, axis=0)


def test_a_rounded_matrix_differs_little_and_has_the_converters_shapes(roundedexl2):
    rng = np.random.default_rng(3)
    weight = (rng.standard_normal((96, 192)) * rng.uniform(0.01, 1, (96, 1))).astype(np.float16)
    weight[5] = 0  # a row without a scale
    made = dict(roundedexl2.rounded("up", weight))
    shapes = {name: (tensor.dtype.name, tensor.shape) for name, tensor in made.items()}
    assert shapes == {
        "up.q_weight": ("int32", (48, 96)), "up.q_scale": ("int32", (3, 12)),
        "up.q_scale_max": ("float16", (3,)), "up.q_groups": ("int16", (6,)),
        "up.q_invperm": ("int32", (192,)),
    }  # fmt: skip
    wanted = weight.T.astype(np.float32)
    off = np.linalg.norm(restored(made, "up") - wanted) / np.linalg.norm(wanted)
    assert off < 0.01


def test_only_linear_layers_are_rounded_and_odd_shapes_are_refused(roundedexl2):
    norm, linear = np.ones(64, np.float16), np.ones((64, 64), np.float16)
    full = {
        "model.norm.weight": norm, "model.embed_tokens.weight": linear,
        "model.layers.3.mlp.down_proj.weight": linear,
    }  # fmt: skip
    made = dict(roundedexl2.tensors(full))
    assert made["model.embed_tokens.weight"] is linear
    assert "model.layers.3.mlp.down_proj.q_weight" in made
    assert len(made) == 7
    with pytest.raises(ValueError, match="up: 48 by 64 is not whole groups"):
        dict(roundedexl2.rounded("up", np.ones((64, 48), np.float16)))
