"""The files of others that the page loads are those that THIRD_PARTY.md names."""

from __future__ import annotations

import hashlib
import re

from forebay.producers.gateway.status.rendering import static_files
from local.fleet import ROOT

ROOM = ROOT / "producers" / "gateway" / "status"
ROW = re.compile(r"^\| `(static/\S+)` \|.*\| (\d+) \| ([0-9a-f]{64}) \|$", re.MULTILINE)
OURS = {"status.css", "status.js", "icon.svg"}


def test_every_file_has_its_digest_and_its_licence():
    text = (ROOM / "THIRD_PARTY.md").read_text()
    named = {name: (int(size), digest) for name, size, digest in ROW.findall(text)}
    for name, (size, digest) in named.items():
        data = (ROOM / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (size, digest)
    assert {name.removeprefix("static/") for name in named} | OURS == set(static_files())
    for licence in ("Zero-Clause BSD", "The MIT License (MIT)", "Copyright (c) 2022 Leon Sorokin"):
        assert licence in text


def test_a_page_loads_less_than_a_hundred_kilobytes_of_scripts():
    scripts = [data for name, (data, _) in static_files().items() if name.endswith(".js")]
    assert sum(map(len, scripts)) < 105_000
