"""What the pages name is there: the targets of links, and files and folders of the code."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page
    for folder in (".", "docs", "deploy", "tests/benchmarks", "routing/scoring")
    for page in (ROOT / folder).glob("*.md")
)
LINK = re.compile(r"\]\(([^)\s]+)\)|srcset=\"([^\"]+)\"|src=\"([^\"]+)\"")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
#: A folder or file of the code between backticks.
PATH = re.compile(r"`((?:[a-z_]+/)+(?:[a-z_0-9]+\.(?:py|lua|toml|json|md))?)`")
TREE = re.compile(r"^```\n(src/forebay/.*?)^```", re.MULTILINE | re.DOTALL)
PACKAGES = ("routing", "workers", "producers")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    found = ("".join(each) for each in LINK.findall(FENCED.sub("", page.read_text())))
    targets = {each.partition("#")[0] for each in found if ":" not in each}
    assert [each for each in targets if each and not (page.parent / each).exists()] == []


def anchors(page: Path) -> set[str]:
    """Return the names that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).strip().replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_into_a_page_leads_to_a_heading(page):
    found = ("".join(each) for each in LINK.findall(FENCED.sub("", page.read_text())))
    targets = [each.partition("#")[::2] for each in found if "#" in each and ":" not in each]
    dead = [
        f"{name}#{anchor}"
        for name, anchor in targets
        if anchor not in anchors(page.parent / name if name else page)
    ]
    assert dead == []


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_every_path_of_the_pages_about_the_code_is_there(name):
    """A path may begin at any folder: `runtime/drain.py` is found in `workers/`."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    tracked = "".join(f"\n/{each}\n" for each in done.stdout.splitlines())
    paths = set(PATH.findall((ROOT / name).read_text()))
    ends = {each: f"/{each}" if each.endswith("/") else f"/{each}\n" for each in paths}
    assert len(paths) > 10
    assert sorted(each for each, end in ends.items() if end not in tracked) == []


def test_the_tree_of_the_house_names_every_room_and_no_other():
    (tree,) = TREE.findall((ROOT / "CONTRIBUTING.md").read_text())
    named, package = set(), ""
    for line in tree.splitlines():
        package = line.partition("/")[0] if line[0] != " " else package
        named |= {f"{package}/{room}" for room in re.findall(r"^  (\w+)/ ", line)}
    rooms = {
        str(file.parent.relative_to(ROOT))
        for each in PACKAGES
        for file in (ROOT / each).glob("*/__init__.py")
    }
    assert {each for each in named if each.startswith(PACKAGES)} == rooms
