"""`forebay tco`: dollars per million tokens, break-even and pay-back, from stated inputs."""

import json
import re
import shlex

import pytest

from forebay.producers.cli.money.break_even import BreakEven, FrontierPrice, Machine
from local.fleet import ROOT

DOCS = (ROOT / "docs" / "money.md").read_text()
MACHINE = Machine(3_650, 2, 1_000, 0.5, 100, 0.5)


def test_the_costs_of_a_machine_are_its_price_and_its_power():
    assert MACHINE.running_usd == 12
    assert MACHINE.usd_per_day == 17
    assert (MACHINE.tokens_per_day, MACHINE.most_per_day) == (4_320_000, 8_640_000)


def test_a_million_tokens_and_break_even_follow_from_it():
    found = BreakEven(MACHINE, FrontierPrice(3, 7).blended(0.5))
    assert found.frontier_usd == 5
    assert found.local_usd == pytest.approx(17 / 4.32)
    assert found.tokens_per_day == pytest.approx(3_400_000)
    assert found.reachable
    assert found.saved_per_day == pytest.approx(4.32 * 5 - 12)
    assert found.pay_back_days == pytest.approx(3_650 / 9.6)


def test_a_frontier_that_is_cheaper_than_the_power_is_never_beaten():
    found = BreakEven(MACHINE, 0.001)
    assert (found.reachable, found.pay_back_days) == (False, None)
    assert BreakEven(MACHINE, 0).tokens_per_day == float("inf")


def commands():
    return re.findall(r"^    \$ forebay (tco .*?)(?<!\\)$", DOCS, re.MULTILINE | re.DOTALL)


def test_the_published_break_even_comes_out_of_the_inputs_in_the_documentation(forebay):
    """From 0.75 to 1.6 billion tokens a day, as few or many of the tokens are answers."""
    found = []
    for line in commands():
        code, out, _ = forebay(*shlex.split(line.replace("\\\n", " ")), "--json")
        assert code == 0
        found.append(json.loads(out))
    assert len(found) == 4
    big = [one["break_even_tokens_per_day"] / 1e9 for one in found[2:]]
    assert [round(one, 2) for one in big] == [1.6, 0.75]
    assert all(one["break_even_reachable"] for one in found)


def test_the_output_in_the_documentation_is_what_is_printed(forebay):
    for line in commands():
        _, out, _ = forebay(*shlex.split(line.replace("\\\n", " ")))
        for printed in out.splitlines():
            assert f"    {printed}\n" in DOCS


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--hardware", "-1", "must be 0 or more"),
        ("--life", "0", "must be above 0"),
        ("--watts", "nan", "must be 0 or more"),
        ("--tokens-per-s", "0", "must be above 0"),
        ("--utilisation", "1.5", "must be from 0 to 1"),
        ("--output-share", "2", "must be from 0 to 1"),
        ("--model", "gpt-9", "no price is listed"),
    ],
)
def test_a_value_that_is_out_of_range_is_one_error_that_names_it(forebay, option, value, message):
    options = {"--hardware": "1", "--watts": "1", "--tokens-per-s": "1"} | {option: value}
    code, out, err = forebay("tco", *(word for pair in options.items() for word in pair))
    assert (code, out) == (2, "")
    assert option.lstrip("-") in err
    assert message in " ".join(err.split())


def test_the_page_has_its_plot_and_its_inputs(forebay, tmp_path):
    page = tmp_path / "tco.html"
    forebay(
        "tco", "--hardware", "2200", "--watts", "350", "--tokens-per-s", "1900", "--html", str(page)
    )
    text = page.read_text()
    assert len(text) < 300_000
    assert text.count("<svg") == 1
    assert "tokens per s" in text
