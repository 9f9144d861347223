"""Each `forebay …` in the documentation is a command that exists, with options that it has."""

import contextlib
import functools
import io
import re

import pytest

from forebay.producers.cli import main as cli
from local.fleet import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: A command in a block, with lines that a backslash continues, or between backticks.
BLOCK = re.compile(r"^(?: {4,}|)(?:\$ )?forebay ((?:.*\\\n)*.*)$", re.MULTILINE)
INLINE = re.compile(r"`forebay ([^`]+)`")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")


def commands(page):
    text = page.read_text()
    found = (
        re.split(r"\s#|  +|[|;&>]", each.replace("\\\n", " "))[0].strip()
        for each in (*BLOCK.findall(text), *INLINE.findall(text))
    )
    return dict.fromkeys(each for each in found if each and "…" not in each)


@functools.cache
def help_of(*names):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert cli.run([*names, "--help"]) == 0
    return out.getvalue()


def path_of(words):
    """Return the names of the command, up to the first word that is no command."""
    names = ()
    for word in words:
        # `forebay --help` has its commands in sections of their own.
        listed = help_of(*names).partition("Commands:" if names else "Options:")[2]
        if not re.search(rf"^  {re.escape(word)}(\s|$)", listed, re.MULTILINE):
            break
        names += (word,)
    return names


def fault_of(command):
    """Return what is wrong with a command, or `None`."""
    words = command.split()
    names = path_of(words)
    text, rest = help_of(*names), words[len(names) :]
    if (not names or "Commands:" in text) and rest and re.fullmatch(r"[a-z][a-z-]*", rest[0]):
        return f"{command}: no command {rest[0]}"
    missing = [
        option
        for option in OPTION.findall(command)
        if not re.search(rf"(?<![\w-]){option}(?![\w-])", text)
    ]
    return f"{command}: no {missing}" if missing else None


def test_the_pages_have_commands_to_check():
    assert sum(len(commands(page)) for page in PAGES) > 60
    assert fault_of("spend lost").endswith("no command lost")
    assert fault_of("spend list --lost") == "spend list --lost: no ['--lost']"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_documented_command_exists_with_its_options(page):
    assert [fault for fault in map(fault_of, commands(page)) if fault] == []
