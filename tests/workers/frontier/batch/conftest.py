"""Batches as their tests see them: boto3 over HTTP to the mock and to moto's S3, a real ledger."""

from __future__ import annotations

import logging

import boto3
import pytest
from moto.server import ThreadedMotoServer

from batch_lane import BUCKET, Spillway
from mock_bedrock.batches import Batches, BatchPlan
from mock_bedrock.server import KEY_PAIR, REGION, MockBedrock


@pytest.fixture(scope="session")
def s3_url():
    """Start moto's S3 for the tests of this process."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def s3_client(s3_url):
    return boto3.client(
        "s3", endpoint_url=s3_url, region_name=REGION,
        aws_access_key_id="mock", aws_secret_access_key="mock",
    )  # fmt: skip


@pytest.fixture(scope="session")
def mock_with_batches(s3_url):
    with MockBedrock(batches=Batches(s3_url, KEY_PAIR, REGION, min_records=3)) as mock:
        yield mock


@pytest.fixture
def s3(s3_client):
    """Return a client of S3 with one empty bucket."""
    s3_client.create_bucket(Bucket=BUCKET)
    for entry in s3_client.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        s3_client.delete_object(Bucket=BUCKET, Key=entry["Key"])
    return s3_client


@pytest.fixture
def mock(monkeypatch, mock_with_batches, s3):
    """Return the mock as it was at its start."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mock")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mock")
    mock_with_batches.calls.clear()
    mock_with_batches.faults.plan()
    mock_with_batches.batches.plan = BatchPlan()
    mock_with_batches.batches.jobs.clear()
    return mock_with_batches


@pytest.fixture(scope="session")
def connections():
    """Return boto3's clients of earlier tests: to make one takes longer than most tests."""
    return {}


@pytest.fixture
def spillway(redis, mock, s3_url, tmp_path, connections):
    spillway = Spillway(redis, mock.url, s3_url, tmp_path / "policy.toml", connections)
    yield spillway
    spillway.close()
