"""Texts with columns in braces."""

import datetime as dt
import decimal

import pytest

from forebay.producers.bulk.templates.cells import BadCell
from forebay.producers.bulk.templates.form import Form
from forebay.routing.errors import InvalidJob


@pytest.mark.parametrize(
    ("text", "filled", "columns"),
    [
        ("Say {body}.", "Say hi.", ("body",)),
        ("{body}{body} {n}", "hihi 7", ("body", "n")),
        ("{{body}} {body}", "{body} hi", ("body",)),
        ("{Customer Name}", "Ann", ("Customer Name",)),
        ("{a.b[0]}", "dots", ("a.b[0]",)),
        ("no column", "no column", ()),
        ("{{}}", "{}", ()),
    ],
)
def test_a_form_is_filled_with_the_values_of_a_row(text, filled, columns):
    form = Form(text, option="user")
    assert form.columns == columns
    fields = {"body": "hi", "n": 7, "Customer Name": "Ann", "a.b[0]": "dots"}
    assert form.fill(fields) == filled


def test_a_value_is_not_filled_again():
    assert Form("{a} {b}", option="user").fill({"a": "{b}", "b": "x"}) == "{b} x"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", ""),
        (1.5, "1.5"),
        (True, "true"),
        ([1, "é"], '[1,"é"]'),
        ({"a": None}, '{"a":null}'),
        (b"bytes", "bytes"),
        (decimal.Decimal("1.50"), "1.50"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        ('a "quoted" text', 'a "quoted" text'),
    ],
)
def test_a_value_is_text_or_json(value, text):
    assert Form("{v}", option="user").fill({"v": value}) == text


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "is null: give it a value"),
        (float("nan"), "is not a finite number: give it a number or a text"),
        (float("inf"), "is not a finite number: give it a number or a text"),
        (decimal.Decimal("NaN"), "is not a finite number: give it a number or a text"),
        (b"\xff", "is not UTF-8 text"),
        (object(), "is object, which has no form as text"),
    ],
)
def test_a_value_without_a_form_as_text_is_refused(value, reason):
    with pytest.raises(BadCell) as error:
        Form("{v}", option="user").fill({"v": value})
    assert (error.value.column, error.value.reason) == ("v", reason)


def test_a_column_that_the_row_lacks_is_named_with_the_nearest():
    with pytest.raises(BadCell) as error:
        Form("{bdy}", option="user").fill({"id": 1, "Body": "x"})
    assert error.value.reason == "the row has no column 'bdy'; did you mean 'Body'?"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{body", "has a single brace: write {column} for a column, and {{ or }} for a brace"),
        ("body}", "has a single brace: write {column} for a column, and {{ or }} for a brace"),
        ("{}", "has empty braces: write a column's name in them"),
        ('{"json": 1}', "must have only a column's name in braces"),
        ("{body!r}", "must have only a column's name in braces, not {body!r…}"),
        ("{body:>10}", "must have only a column's name in braces, not {body:…}"),
    ],
)
def test_a_form_that_cannot_be_read_is_refused(text, reason):
    with pytest.raises(InvalidJob) as error:
        Form(text, option="user")
    assert error.value.field == "user"
    assert error.value.message.startswith(reason)
