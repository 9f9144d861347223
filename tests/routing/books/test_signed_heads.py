"""Heads of the egress log that are signed, and read again."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from forebay.routing.books.egress_log import Head
from forebay.routing.books.signed_heads import KeptHead, read_head
from forebay.routing.errors import InvalidJob

KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
HEAD = KeptHead("2026-11-28", Head(47, "ab" * 32), "")


def test_a_signed_head_is_read_as_it_was_written():
    signed = HEAD.signed(KEY)
    assert read_head(signed.line) == signed
    assert read_head(HEAD.line) == HEAD
    assert read_head(f"47:{'ab' * 32}") == HEAD._replace(day="")


@pytest.mark.parametrize(
    "changed",
    [
        {}, {"day": "2026-11-29"}, {"head": Head(48, "ab" * 32)}, {"head": Head(47, "ac" * 32)},
        {"signature": ""}, {"signature": "not base64"}, {"signature": "AAAA"},
    ],
)  # fmt: skip
def test_a_signature_holds_for_nothing_but_what_was_signed(changed):
    signed = HEAD.signed(KEY)._replace(**changed)
    assert signed.is_signed_by(KEY.public_key()) == (not changed)
    assert not signed.is_signed_by(OTHER.public_key())


@pytest.mark.parametrize(
    "line", ["", "47", "47:abc", f"x:{'ab' * 32}", f"a b 47:{'ab' * 32}", f"{HEAD.line} s s"]
)
def test_a_line_of_another_form_is_one_error(line):
    with pytest.raises(InvalidJob, match="must be NUMBER:HASH"):
        read_head(line)
