"""The error that a caller gets for a job without an answer, and the words of its reasons."""

import pytest

from forebay.producers.results import failure
from forebay.routing.errors import Misconfigured, NoModel, NoPrice
from forebay.routing.jobs import Receipt
from forebay.routing.limits.prices import Prices
from forebay.routing.reasons import MEANINGS, meaning


def receipt(error, *reasons, field=None, note=None):
    return Receipt(
        id=f"t.{1:032x}", kind="summarize", egress="allow", status="failed", error=error,
        error_field=field, error_note=note, reasons=reasons,
    )  # fmt: skip


@pytest.mark.parametrize("model", ["gpt-9", "amazon.nova-x-v9:0", "arn:aws:bedrock:x:1:y/z"])
def test_a_job_without_a_price_says_so_and_names_the_model(model):
    with pytest.raises(NoPrice) as caught:
        Prices.load().worst_case(model, 1, 1)
    note = caught.value.message  # which a worker puts into the receipt
    error = failure(receipt("no_price", f"no_price:{model}", field="model", note=note))
    assert type(error) is NoPrice
    assert isinstance(error, Misconfigured)
    assert model in error.message
    assert "price" in error.message
    assert "a setting" not in error.message


def test_a_job_without_an_allowed_model_does_not_say_that_its_content_may_not_leave():
    error = failure(receipt("no_model_allowed", "no_model_allowed", field="lane"))
    assert type(error) is NoModel
    assert "no model" in error.message
    assert "leave" not in error.message


def test_no_detail_of_another_reason_is_shown():
    assert "secret" not in failure(receipt("egress_denied", "secret_found:secret")).message


def test_a_failed_check_is_not_said_to_be_of_the_local_answer_since_bedrocks_are_checked_too():
    assert "local" not in MEANINGS["check_failed"]
    assert meaning("check_failed:length") == "the answer failed the named check"
