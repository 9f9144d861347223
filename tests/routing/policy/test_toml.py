"""TOML that people write: whatever it is, it is read or refused with one clear error."""

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from forebay.routing.errors import Misconfigured
from forebay.routing.policy import toml


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid")

    a: int = 0
    b1: dict[str, float] = {}


@given(st.text(alphabet="[]{}=.\"'#\n ab1", max_size=80))
def test_any_text_is_read_or_refused_with_one_error(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(text)
    try:
        found = toml.read(path, Table)
    except Misconfigured as error:
        said = str(error)
        assert "any.toml" in said
        return
    assert isinstance(found, Table)


keys = st.sampled_from(["a", "b-1", '"quoted.key"', "'Lit eral'"])


@given(st.lists(keys, min_size=1, max_size=3), st.integers(0, 5), st.booleans())
def test_a_key_is_found_in_its_line_however_it_is_written(path, blank, dotted):
    names = [key.strip("\"'") for key in path] + ["x"]
    before = "#\n" * blank + "[other]\nx = [\n1,\n]\n"
    if dotted:
        text = before + "[root]\n" + ".".join([*path, "x"]) + " = 1\n"
        assert toml.line_of(text, ["root", *names]) == blank + 6
    else:
        text = before + "[ root . " + " . ".join(path) + " ]\nx = 1\n"
        assert toml.line_of(text, ["root", *names]) == blank + 6
    assert toml.line_of(text, ["nowhere"]) is None
