"""Settings with which `huggingface_hub` asks the hub of a test, quickly and without a token."""

from types import SimpleNamespace

import pytest
from huggingface_hub import constants, file_download
from huggingface_hub.utils import _http, close_session

from modelhub import CHUNK_BYTES


@pytest.fixture
def hub_is_asked(monkeypatch, tmp_path, hub):
    monkeypatch.setenv("FOREBAY_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", CHUNK_BYTES)
    for module in (file_download, _http):  # both wait seconds between tries
        monkeypatch.setattr(module, "time", SimpleNamespace(sleep=lambda _seconds: None))
    close_session()  # it would keep the proxies of an earlier test
    yield
    close_session()
