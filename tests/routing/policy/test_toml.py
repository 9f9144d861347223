"""TOML files that people write: any text is read, or refused with one clear error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from forebay.routing.errors import Misconfigured
from forebay.routing.policy import toml


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid")

    a: int = 0
    b1: dict[str, float] = {}


class Root(BaseModel):
    root: dict[str, dict[str, int]]


@given(st.text(alphabet="[]{}=.\"'#\n ab1", max_size=80))
def test_any_text_is_read_or_refused_with_one_error(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(text)
    try:
        result = toml.read(path, Table, variable="FOREBAY_FILE")
    except Misconfigured as error:
        result = str(error)
    assert isinstance(result, Table) or "any.toml" in result


NAMES = {"a": "a", "b-1": "b-1", '"quoted.key"': '"quoted.key"', "'Lit eral'": '"Lit eral"'}


@pytest.mark.parametrize(
    "form", ["[root.{}]\nx = 'y'", "root.{}.x = 'y'", "[root]\n{} = {{ x = [] }}"]
)
@pytest.mark.parametrize("name", NAMES)
def test_an_error_names_its_key_however_the_file_writes_it(tmp_path, form, name):
    path = tmp_path / "any.toml"
    path.write_text(form.format(name))
    with pytest.raises(Misconfigured) as caught:
        toml.read(path, Root, variable="FOREBAY_FILE")
    assert caught.value.field == f"[root.{NAMES[name]}] x"


def test_a_long_key_is_cut_short(tmp_path):
    path = tmp_path / "any.toml"
    path.write_text("k" * 1_000 + " = 1\n")
    with pytest.raises(Misconfigured) as caught:
        toml.read(path, Table, variable="FOREBAY_FILE")
    assert caught.value.field == "k" * 60
