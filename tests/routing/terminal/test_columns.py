"""Tables for people."""

from forebay.routing.terminal.columns import in_columns


def test_cells_stand_below_each_other_and_no_line_ends_in_spaces():
    rows = [("NAME", "JOBS", "NOTE"), ("acme", "7", "paused"), ("a-longer-name", "12,000", "")]
    assert list(in_columns(rows)) == [
        "NAME           JOBS    NOTE",
        "acme           7       paused",
        "a-longer-name  12,000",
    ]
