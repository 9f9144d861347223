"""Whatever a line of results holds, nothing is taken for an answer that is none."""

import pytest

from forebay.workers.frontier.batch.record_result import read_result

BODY = '{"output": {}, "usage": {}}'


@pytest.mark.parametrize(
    ("line", "body", "failed"),
    [
        (f'{{"recordId": "R1", "modelOutput": {BODY}}}', True, False),
        ('{"recordId": "R1", "error": {"errorCode": 400}}', False, True),
        (f'{{"recordId": "R1", "modelOutput": {BODY}, "error": {{}}}}', True, False),
        ('{"recordId": "R1", "modelOutput": null}', False, False),
        ('{"recordId": "R1", "modelOutput": {}}', False, False),
        ('{"recordId": "R1"}', False, False),
        ('{"recordId": "R1", "error": "no"}', False, False),
    ],
)
def test_a_result_is_an_answer_a_failure_or_unknown(line, body, failed):
    result = read_result(line.encode())
    assert result.record_id == "R1"
    assert ((result.body is not None), result.failed) == (body, failed)


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"null", b'{"recordId": 7}', b"\xff", b"{}"])
def test_a_line_that_names_no_record_tells_nothing(line):
    assert read_result(line) is None
