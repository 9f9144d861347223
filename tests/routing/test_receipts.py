"""What is stored of an answer can be read by clients of the release before, as far as it can be.

They refuse fields that they do not know, so a new field is left out while it has its default.
"""

import pytest

from forebay.routing.base import FrozenModel
from forebay.routing.jobs import Check, Classification, Doubt, Generation, Receipt, Summary, Verdict

#: Values with nothing but what each model needs, and the fields that the release before knows.
STORED: dict[str, tuple[FrozenModel, str]] = {
    "classification": (Classification(label="a"), "kind label probability scores"),
    "summary": (Summary(text="a"), "kind text"),
    "generation": (Generation(text="a"), "kind text finish"),
    "verdict": (
        Verdict(probability=0.5, version="1"), "probability score version features threshold",
    ),
    "doubt": (
        Doubt(probability=0.5, version="1"), "probability agreement second version threshold",
    ),
    "check": (Check(name="present", passed=True), "name passed note"),
    "receipt": (
        Receipt(id=f"acme.{'0' * 32}", kind="classify", egress="deny", status="done"),
        ("id kind egress status lane reasons degraded cached stand_in model revision tokens_in "
         "tokens_out cost_nusd verdict checks doubt attempts queued_s worked_s total_s error "
         "error_field error_note replay_of cost_usd"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STORED)
def test_what_has_no_new_value_holds_no_new_field(name):
    value, known = STORED[name]
    assert value.model_dump(mode="json").keys() == set(known.split())


def test_a_new_value_is_kept():
    assert Classification(label="a", temperature=2.0).model_dump()["temperature"] == 2.0
    assert Doubt(probability=0.5, version="1", score=0.4).model_dump()["score"] == 0.4
