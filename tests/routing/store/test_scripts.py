"""Each script has what it uses of the prelude, and no more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from forebay.routing.store import scripts

PRELUDE = (Path(scripts.__file__).parent / "prelude.lua").read_text()
DEFINED = re.findall(r"^local (?:function )?(\w+)", PRELUDE, re.MULTILINE)


def definitions(text):
    return re.findall(r"^local (?:function )?(\w+)", text, re.MULTILINE)


def test_the_prelude_is_read_whole():
    known = dict(scripts._prelude())
    assert list(known) == DEFINED
    lines = [line for line in PRELUDE.splitlines() if line and not line.startswith("--")]
    read = [line for text in known.values() for line in text.splitlines() if line]
    assert read == lines


@pytest.mark.parametrize("name", scripts.names())
def test_a_script_has_before_it_what_it_uses(name):
    """A name that is missing would stop the script halfway, and only where it is used."""
    text = re.sub(r"--[^\n]*|'[^'\n]*'", "", scripts.transition(name))
    missing = {word for word in set(re.findall(r"\w+", text)) & set(DEFINED)
               if re.search(rf"(?<![.\w]){word}\b", text.replace("..", " "))
               and not re.search(rf"local (?:function )?[^=\n]*\b{word}\b", text)
               and not re.search(rf"\([^)\n]*\b{word}\b[^(\n]*\)\n", text)}  # fmt: skip
    assert missing == set()


def test_a_small_script_is_small(redis):
    assert set(definitions(scripts.transition("lease"))) & set(DEFINED) == {"number"}
    assert len(definitions(scripts.transition("renew"))) < len(DEFINED) / 4
    for name in scripts.names():  # Redis compiles them
        assert redis.script_load(scripts.transition(name)) == scripts.digest(name)
