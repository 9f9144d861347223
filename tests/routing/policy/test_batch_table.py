"""The table `[batch]` is whole or off, and its mistakes are named."""

import pytest
from pydantic import ValidationError

from forebay.routing.policy.batch_table import BatchPolicy

ROLE = "arn:aws:iam::123456789012:role/forebay-batch"
WHOLE = {"bucket": "acme-forebay", "role_arn": ROLE, "models": ["m"]}


def test_without_a_bucket_nothing_goes_in_batches():
    assert not BatchPolicy().is_on
    assert not BatchPolicy().takes("m")


def test_a_whole_table_takes_its_models():
    table = BatchPolicy(**WHOLE)
    assert table.takes("m")
    assert not table.takes("n")


@pytest.mark.parametrize("missing", WHOLE)
def test_a_table_that_names_only_a_part_is_refused(missing):
    part = {name: value for name, value in WHOLE.items() if name != missing}
    with pytest.raises(ValidationError, match="bucket, role_arn and models together"):
        BatchPolicy(**part)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bucket", "Acme"), ("bucket", "s3://acme"), ("role_arn", "forebay-batch"),
        ("kms_key", "alias/x"), ("bucket_owner", "12"), ("prefix", "a b"), ("max_mb", 500),
        ("min_records", 0), ("turnaround_s", 864_000.0), ("max_wait_s", 0.0),
    ],
)  # fmt: skip
def test_a_value_that_aws_would_refuse_is_refused(name, value):
    with pytest.raises(ValidationError) as caught:
        BatchPolicy(**{**WHOLE, name: value})
    assert [error["loc"] for error in caught.value.errors()] == [(name,)]


def test_a_file_has_room_for_the_fewest_records():
    with pytest.raises(ValidationError, match="max_records of at least min_records"):
        BatchPolicy(**WHOLE, min_records=10, max_records=9)
