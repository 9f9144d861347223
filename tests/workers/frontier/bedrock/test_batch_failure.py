"""What S3 and Bedrock say of a batch that they refuse becomes the key of the policy to correct."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from forebay.routing.bedrock_batches.batch_record import BatchRecord
from forebay.routing.errors import Misconfigured, Unavailable
from forebay.workers.frontier.bedrock.batch_bucket import BatchBucket
from forebay.workers.frontier.bedrock.batch_failure import batch_failure
from forebay.workers.frontier.settings import BedrockSettings

ROLE = "arn:aws:iam::123456789012:role/x"


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("Access denied when calling KMS. Check your role", "kms_key"),
        (f"User: {ROLE} is not authorized to perform: kms:GenerateDataKey", "kms_key"),
        (f"User: {ROLE} is not authorized to perform: iam:PassRole on resource", "role_arn"),
        ("Bedrock was unable to assume the provided role", "role_arn"),
        (f"{ROLE} is not authorized to perform: bedrock:CreateModelInvocationJob", "role_arn"),
        ("The role lacks the required S3 permissions on the bucket", "role_arn"),
        ("Access Denied (Service: S3, Status Code: 403)", "role_arn"),
        ("Batch job contains less records (3) than the required minimum of: 100", "min_records"),
        ("The number of records exceeds the maximum of 50000", "max_records"),
        ("Input file is too large", "max_records"),
        ("The S3 bucket must be in the same region as the job", "bucket"),
        ("The expected bucket owner does not match", "bucket"),
        ("The specified bucket does not exist", "bucket"),
        ("The provided model doesn't support batch inference in this region", "models"),
        ("something went wrong", None),
        ("", None),
    ],
)
def test_a_message_names_the_key_to_correct_and_is_not_quoted(message, field):
    found = batch_failure(message)
    assert (found and found.field) == (field and f"[batch] {field}")
    assert found is None or ROLE not in str(found)


class _S3(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # with an older one, boto3 waits a second for "100 Continue"

    def do_PUT(self):
        self.rfile.read(int(self.headers["content-length"]))
        status, code, message = self.server.ending
        body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Log nothing."""


@pytest.fixture
def s3(monkeypatch):
    """A bucket through real boto3, whose service answers as it is told."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mock")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mock")
    server = HTTPServer(("127.0.0.1", 0), _S3)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


KEY = "arn:aws:kms:us-east-1:123456789012:key/k"
BATCH = BatchRecord(
    "b", "uploading", "acme m", "m", "m", 0, "bucket", "p/", ROLE, KEY, "", 1, "{}"
)  # fmt: skip


@pytest.mark.parametrize(
    ("status", "code", "message", "error", "field"),
    [
        (403, "AccessDenied", "not authorized to perform: kms:Decrypt", Misconfigured, "kms_key"),
        (400, "KMS.DisabledException", "the key is disabled", Misconfigured, "kms_key"),
        (400, "KMS.NotFoundException", "Invalid keyId", Misconfigured, "kms_key"),
        (403, "AccessDenied", "Access Denied", Misconfigured, "bucket"),
        (404, "NoSuchBucket", "no bucket", Misconfigured, "bucket"),
        (301, "PermanentRedirect", "another region", Misconfigured, "bucket"),
        (400, "ThrottlingException", "slow down", Unavailable, None),
    ],
)
def test_what_s3_refuses_names_the_key_to_correct(s3, status, code, message, error, field):
    s3.ending = (status, code, message)
    url = f"http://127.0.0.1:{s3.server_address[1]}"
    bucket = BatchBucket(BedrockSettings(bedrock_s3_endpoint=url))
    with pytest.raises(error) as caught:
        bucket.put(BATCH, b"{}")
    assert caught.value.field == (field and f"[batch] {field}")
