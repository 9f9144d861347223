"""The digest that every answer carries: of a file, or of a model folder."""

import hashlib
import os
import subprocess

import pytest

from forebay.routing.errors import Misconfigured
from forebay.workers.engines.weights import digests


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "a.gguf"
    path.write_bytes(b"GGUF and more")
    return path


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "model"
    made.mkdir()
    (made / "config.json").write_text("{}")
    (made / "Zeta.json").write_text("[]")
    (made / "a b.safetensors").write_bytes(b"weights")
    return made


def test_a_revision_is_the_start_of_the_files_digest(model):
    digest = hashlib.sha256(b"GGUF and more").hexdigest()[:12]
    assert digests.revision(model) == digest
    assert digests.revision(model) == digest


def test_a_cached_digest_saves_reading_the_file_again(model, monkeypatch):
    first = digests.revision(model)
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert digests.revision(model) == first


def test_a_changed_file_has_a_new_revision(model):
    first = digests.revision(model)
    model.write_bytes(b"GGUF and more, changed")
    assert digests.revision(model) != first


def test_without_a_cache_the_revision_is_the_same(model, monkeypatch, tmp_path):
    first = digests.revision(model)
    blocked = tmp_path / "file"
    blocked.write_text("no directory")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert digests.revision(model) == first


def test_a_cached_digest_is_one_small_file(model, cache):
    digests.revision(model)
    (cached,) = (cache / "forebay" / "digests").iterdir()
    assert cached.read_text()[:12] == digests.revision(model)


def test_a_cached_digest_that_is_cut_off_is_computed_again(model, cache):
    first = digests.revision(model)
    (cached,) = (cache / "forebay" / "digests").iterdir()
    cached.write_text(first)
    assert digests.digest(model) == hashlib.sha256(b"GGUF and more").hexdigest()


def test_a_folders_digest_is_what_sha256sum_makes_of_it(folder):
    command = "LC_ALL=C; export LC_ALL; sha256sum * | sha256sum"
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, check=True)
    assert digests.folder_digest(folder) == done.stdout.decode()[:64]
    assert digests.revision(folder) == done.stdout.decode()[:12]


def test_every_file_of_a_folder_counts_but_no_hidden_file_and_no_folder(folder):
    first = digests.revision(folder)
    (folder / ".lock").write_text("")
    (folder / "original").mkdir()
    (folder / "original" / "weights.bin").write_bytes(b"other")
    assert digests.revision(folder) == first
    (folder / "tokenizer.json").write_text("{}")
    assert digests.revision(folder) != first


def test_a_folder_of_links_has_the_digest_of_what_they_point_to(folder, tmp_path):
    links = tmp_path / "links"
    links.mkdir()
    for file in folder.iterdir():
        (links / file.name).symlink_to(file)
    assert digests.revision(links) == digests.revision(folder)


def test_a_fresh_digest_sees_a_change_that_keeps_size_and_time(folder):
    first = digests.folder_digest(folder)
    weights = folder / "a b.safetensors"
    before = weights.stat()
    weights.write_bytes(b"WEIGHTS")
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert digests.folder_digest(folder) == first
    assert digests.folder_digest(folder, fresh=True) != first
    assert digests.folder_digest(folder) != first


def test_an_empty_or_a_missing_folder_is_reported(tmp_path):
    (tmp_path / "empty").mkdir()
    for name, text in (("empty", "holds no files"), ("missing", "cannot be read")):
        with pytest.raises(Misconfigured, match=text):
            digests.folder_digest(tmp_path / name)
