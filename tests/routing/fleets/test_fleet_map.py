"""The map of fleets: what it says, what is wrong with it, and how it is followed and written."""

from __future__ import annotations

import logging

import pytest

from forebay.routing.errors import Misconfigured
from forebay.routing.fleets import map_file, map_line
from forebay.routing.fleets.fleet_map import read_map
from forebay.routing.fleets.map_file import MapFile
from forebay.routing.settings import Settings

GOOD = """# our fleets
default = "west"

[fleets.west]
redis_url = "redis://west:6379/0"

[fleets.east]
redis_url = "redis://operator:${EAST_PASSWORD}@east:6379/0"

[tenants]
payroll = "east"  # near the archive
acme = ["east", "west"]
"""


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setenv("EAST_PASSWORD", "kanarie")
    path = tmp_path / "fleets.toml"
    path.write_text(GOOD)
    return path


def test_a_tenant_is_in_its_fleet_or_in_the_default(path):
    found = read_map(path)
    assert found.places("payroll") == ("east",)
    assert found.places("acme") == ("east", "west")
    assert found.places("anybody") == ("west",)
    east = found.settings("east", Settings(max_waiting=7, fleets=path))
    assert east.redis_url == "redis://operator:kanarie@east:6379/0"
    assert (east.max_waiting, east.fleets) == (7, None)
    assert "kanarie" not in repr(found)


@pytest.mark.parametrize(
    ("old", "new", "field", "words"),
    [
        ('default = "west"', "", "default", "is missing"),
        ('default = "west"', 'default = "north"', None, "default names north"),
        (
            'payroll = "east"',
            'payroll = "nroth"',
            None,
            "payroll names nroth.*line 11",
        ),
        ('["east", "west"]', '["east", "west", "east"]', "[tenants] acme", "while.*line 12"),
        ('["east", "west"]', "7", "[tenants] acme", "must be a fleet"),
        ('["east", "west"]', '["east", "east"]', "[tenants] acme", "twice"),
        ("redis://west:6379/0", "http://west", "[fleets.west] redis_url", "begin with.*line 5"),
        ("${EAST_PASSWORD}", "${NO_SUCH}", "[fleets.east] redis_url", "NO_SUCH.*not set"),
        ("redis_url", "redis_ulr", "[fleets.west] redis_ulr", "not a known key"),
        (
            "redis://operator:${EAST_PASSWORD}@east:6379/0",
            "redis://west:6379/0",
            None,
            "two fleets",
        ),
        ("[tenants]", "[tenants", "FOREBAY_FLEETS", "is not TOML.*line"),
        ("acme", "Ac me", "FOREBAY_FLEETS", "is not TOML"),
    ],
)
def test_a_mistake_is_one_error_that_names_where_it_is(path, old, new, field, words):
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(Misconfigured, match=words) as caught:
        read_map(path)
    assert caught.value.field == field or field is None
    assert "kanarie" not in str(caught.value)


def test_the_file_is_followed_and_a_mistake_changes_nothing(path, caplog, monkeypatch):
    monkeypatch.setattr(map_file.MapFile, "look_every_s", 0)
    file = MapFile(path)
    path.write_text(GOOD.replace('payroll = "east"', 'payroll = "west"'))
    assert file.current().places("payroll") == ("west",)
    path.write_text("default =")
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert file.current().places("payroll") == ("west",)
    assert len(caplog.records) == 1
    assert "last good version still applies" in caplog.text
    path.unlink()
    assert file.current().places("payroll") == ("west",)
    path.write_text(GOOD)
    assert file.current().places("payroll") == ("east",)


@pytest.mark.parametrize("end", ["", "\n[fleets.north]\nredis_url = 'redis://north'\n"])
def test_a_line_is_written_and_the_rest_stays(path, end):
    path.write_text(GOOD + end)
    path.chmod(0o640)
    map_line.write(path, "acme", ["east"])
    map_line.write(path, "new", ["east", "west"])
    text = path.read_text()
    assert 'acme = "east"\n' in text
    assert text.startswith("# our fleets\n")
    assert 'payroll = "east"  # near the archive' in text
    assert read_map(path).places("new") == ("east", "west")
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(path.parent.iterdir()) == [path]


def test_a_map_without_tenants_gets_a_table(path):
    path.write_text(GOOD[: GOOD.index("[tenants]")])
    map_line.write(path, "acme", ["east"])
    assert read_map(path).places("acme") == ("east",)


@pytest.mark.parametrize("form", ['tenants = { acme = "west" }', 'tenants.acme = "west"'])
def test_a_form_that_cannot_be_rewritten_is_left_and_the_line_is_named(path, form):
    text = form + "\n" + GOOD[: GOOD.index("[tenants]")]
    path.write_text(text)
    with pytest.raises(Misconfigured, match='write the line `acme = "east"` under'):
        map_line.write(path, "acme", ["east"])
    assert path.read_text() == text
