"""Files, handled by OpenAI's own client."""

from __future__ import annotations

import socket
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import openai
import pytest
import redis as redis_py

from patience import until

pytestmark = pytest.mark.slow

DATA = b'{"a": 1}\n{"a": "\xc3\xa4"}\n'


def upload(client, data=DATA, **options):
    return client.files.create(**({"file": ("rows.jsonl", data), "purpose": "batch"} | options))


def test_a_file_is_stored_listed_read_and_deleted(openai_client):
    file = upload(openai_client)
    assert (file.filename, file.bytes, file.purpose) == ("rows.jsonl", len(DATA), "batch")
    assert openai_client.files.retrieve(file.id) == file
    assert openai_client.files.content(file.id).content == DATA
    assert file.id in [each.id for each in openai_client.files.list(purpose="batch")]
    assert openai_client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError) as gone:
        openai_client.files.content(file.id)
    assert (gone.value.code, gone.value.param) == ("not_found", "file_id")


def test_files_are_listed_page_by_page_in_either_order(openai_client):
    made = [upload(openai_client).id for _ in range(3)]
    # Batches of other tests may write their outputs meanwhile, which have another purpose.
    first = openai_client.files.list(limit=2, purpose="batch")
    assert [file.id for file in first.data] == made[:0:-1]
    assert first.has_more
    pages = openai_client.files.list(limit=2, order="asc", purpose="batch")
    assert [file.id for file in pages][-3:] == made


def test_a_file_says_how_long_it_is_kept(openai_client):
    file = upload(openai_client, expires_after={"anchor": "created_at", "seconds": 3600})
    assert file.expires_at - file.created_at == 3600
    with pytest.raises(openai.BadRequestError, match=r"expires_after\.seconds"):
        upload(openai_client, expires_after={"anchor": "created_at", "seconds": 5})


def test_a_large_file_is_stored_and_one_that_is_too_large_is_refused(openai_client):
    data = b'{"text": "' + b"x" * 1_000_000 + b'"}\n'
    assert upload(openai_client, data * 3).bytes == 3 * len(data)
    with pytest.raises(openai.APIStatusError) as refused:
        upload(openai_client, data * 5)
    assert refused.value.status_code == 413


def test_an_empty_file_can_be_stored(openai_client):
    file = upload(openai_client, b"")
    assert file.bytes == 0
    assert openai_client.files.content(file.id).content == b""


@pytest.mark.parametrize(
    ("request_of", "field"),
    [
        (lambda http: http.post("/v1/files", json={"purpose": "batch"}), "body"),
        (lambda http: http.post("/v1/files", data={"purpose": "batch"}), "body"),
        (lambda http: http.post("/v1/files", files={"other": b"x"}, data={"purpose": "batch"}),
         "file"),
        (lambda http: http.post("/v1/files", files={"file": b"x"}), "purpose"),
        (lambda http: http.post("/v1/files", files={"file": b"x"}, data={"purpose": "vision"}),
         "purpose"),
        (lambda http: http.post("/v1/files", files={"file": b"x"},
                                data={"purpose": "batch", "more": "1"}), "more"),
        (lambda http: http.post("/v1/files", content=b"nothing",
                                headers={"content-type": "multipart/form-data; boundary=x"}),
         "body"),
    ],
)  # fmt: skip
def test_a_form_that_is_wrong_is_refused_with_its_field(http, request_of, field):
    response = request_of(http)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == field


def test_the_name_of_a_file_is_no_path(http):
    form = {"file": ("../../etc/passwd", b"x")}
    stored = http.post("/v1/files", files=form, data={"purpose": "batch"}).json()
    assert stored["filename"] == "passwd"


def test_a_key_without_the_scope_uploads_and_deletes_nothing(served, keys, openai_client):
    file = upload(openai_client)
    reader = keys.create("acme", scopes=("read",))[1]
    with openai.OpenAI(base_url=f"{served.gateway_url}/v1", api_key=reader) as client:
        for call in (lambda: upload(client), lambda: client.files.delete(file.id)):
            with pytest.raises(openai.PermissionDeniedError):
                call()
        assert client.files.retrieve(file.id).id == file.id


def test_no_content_of_a_file_is_in_redis(openai_client, served):
    upload(openai_client, b'{"a": "quetzalcoatl"}')
    with redis_py.Redis.from_url(served.url) as client:
        assert not [key for key in client.keys("*") if b"quetzal" in (client.dump(key) or b"")]


def test_a_range_of_a_file_is_read_and_one_that_is_none_is_ignored(openai_client, http):
    file = openai_client.files.create(file=("a", b"0123456789"), purpose="batch")
    path = f"/v1/files/{file.id}/content"

    def read(given):
        return http.get(path, headers={"range": given})

    part = read("bytes=2-4")
    assert (part.status_code, part.content, part.headers["content-range"]) == (
        206, b"234", "bytes 2-4/10",
    )  # fmt: skip
    assert (read("bytes=-3").content, read("bytes=7-").content) == (b"789", b"789")
    for odd in ("bytes=x", "bytes=5-2", "lines=1-2", ""):
        assert (read(odd).status_code, read(odd).content) == (200, b"0123456789")
    for late in ("bytes=10-", "bytes=11-", "bytes=99-100"):
        refused = read(late)
        assert (refused.status_code, refused.json()["error"]["code"]) == (
            416, "range_not_satisfiable",
        )  # fmt: skip
        assert refused.json()["error"]["param"] == "range"


def begun(served, token) -> socket.socket:
    """Begin the upload of a tenth of what the tenant may store; send nothing of it."""
    place = urlsplit(served.gateway_url)
    connection = socket.create_connection((place.hostname, place.port))
    head = (
        f"POST /v1/files HTTP/1.1\r\nhost: {place.netloc}\r\nauthorization: Bearer {token}\r\n"
        "content-type: multipart/form-data; boundary=x\r\ncontent-length: 3999000\r\n\r\n"
    )
    connection.sendall(head.encode())
    return connection


def test_uploads_at_the_same_time_find_no_more_room_than_there_is(served, keys):
    token = keys.create("crowded", scopes=("submit", "read", "admin"))[1]
    with openai.OpenAI(base_url=f"{served.gateway_url}/v1", api_key=token, max_retries=0) as client:

        def refused():
            with suppress(openai.APIStatusError):
                return not upload(client, DATA * 1_000)
            return True

        with ExitStack() as uploads:
            for _ in range(10):
                uploads.enter_context(begun(served, token))
            until(refused, 20)
            with pytest.raises(openai.APIStatusError, match="finds no room"):
                upload(client, DATA * 1_000)
        until(lambda: not refused(), 20)  # their connections were closed
