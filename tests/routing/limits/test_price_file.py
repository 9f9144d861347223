"""A price file that changes: the new prices apply, a wrong file changes nothing and is logged."""

import logging
import os

import pytest

from forebay.routing.errors import Misconfigured
from forebay.routing.limits.price_file import PriceFile
from forebay.routing.limits.prices import Prices, Usage

GOOD = """
date = 2026-01-01
geography = { region = 1 }
models.m.bands = [{ above = 0, input = 1, output = 2 }]
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "prices.toml"
    path.write_text(GOOD)
    return path


def change(path, text):
    before = path.stat().st_mtime_ns
    path.write_text(text)
    os.utime(path, ns=(before + 10**9, before + 10**9))


def test_a_new_version_applies_without_a_restart(file, caplog):
    caplog.set_level(logging.INFO)
    prices = PriceFile(file)
    old = prices.current()
    assert old is prices.current()
    change(file, GOOD.replace("input = 1", "input = 5"))
    assert prices.current().cost("m", Usage(1, 1)) == 7_000
    assert old.cost("m", Usage(1, 1)) == 3_000  # of a call that was planned before
    assert "apply from now on" in caplog.text


@pytest.mark.parametrize("text", ["", "models = [", GOOD.replace("input = 1", "input = -1")])
def test_a_wrong_version_keeps_the_old_prices_and_is_logged_once(file, caplog, text):
    prices = PriceFile(file)
    change(file, text)
    versions = {prices.current().version for _ in range(3)}
    assert versions == {Prices.model_validate(prices.current()).version}
    assert prices.current().cost("m", Usage(1, 1)) == 3_000
    (record,) = [one for one in caplog.records if one.event == "prices.wrong"]
    assert "still apply" in record.getMessage()
    change(file, GOOD.replace("input = 1", "input = 5"))
    assert prices.current().cost("m", Usage(1, 1)) == 7_000


def test_a_file_that_is_wrong_from_the_start_is_refused(file):
    file.write_text("models = [")
    with pytest.raises(Misconfigured):
        PriceFile(file)


def test_without_a_file_the_packaged_prices_apply():
    assert PriceFile(None).current() == Prices.load()
