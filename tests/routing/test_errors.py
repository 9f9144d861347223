"""The tree of errors: every class is drawn, every code has one class and a meaning."""

from __future__ import annotations

import pytest

from forebay.routing import errors
from forebay.routing.errors import CallerError, ForebayError, LastingError, PassingError


def classes(root=ForebayError):
    return [root, *(cls for child in root.__subclasses__() for cls in classes(child))]


OURS = [cls for cls in classes() if cls.__module__ == errors.__name__]
CODED = [cls for cls in OURS if "code" in vars(cls)]


@pytest.mark.parametrize("cls", OURS)
def test_the_tree_in_the_docstring_draws_every_class(cls):
    drawn = errors.__doc__.replace("Ended cancelled, expired", "Ended Cancelled Expired")
    names = {cls.__name__} if not issubclass(cls, errors.Ended) else {cls.code, "Ended"}
    assert any(name in drawn for name in names)


def test_no_two_classes_share_a_code():
    codes = [cls.code for cls in CODED]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("cls", CODED)
def test_a_code_leads_back_to_its_class_and_has_a_meaning(cls):
    made = errors.from_code(cls.code, "because", "field")
    assert type(made) is cls
    assert str(made) == "field: because"
    meaning = errors.gist(cls.code)
    assert meaning[:1].islower()
    assert not meaning.endswith(".")


def test_an_unknown_code_is_the_root_and_has_no_meaning():
    assert type(errors.from_code("of another version", "because")) is ForebayError
    assert errors.gist("of another version") == ""


def test_every_error_belongs_to_one_of_three_families():
    families = (CallerError, PassingError, LastingError)
    for cls in CODED:
        assert cls is ForebayError or sum(issubclass(cls, family) for family in families) == 1
