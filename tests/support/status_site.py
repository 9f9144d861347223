"""The status page of a running gateway, and what a test does with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import redis as redis_py

from forebay.producers.gateway.api_keys import KeyStore
from forebay.routing.ledger.ledger import Ledger
from ledger_jobs import failure, put
from ledger_jobs import job as made
from local.fleet import Fleet

#: A content, a label and a name that would do harm on a page that did not escape them.
HOSTILE = "<script>document.title='owned'</script>"


@dataclass
class Site:
    """The page of a running gateway, and what stands behind it."""

    fleet: Fleet
    redis: redis_py.Redis
    ledger: Ledger
    keys: KeyStore

    @property
    def url(self) -> str:
        return self.fleet.gateway_url

    def key(self, tenant: str, *scopes: str) -> str:
        return self.keys.create(tenant, name=f"{tenant} key", scopes=scopes)[1]

    def get(self, path: str, **options: Any) -> httpx2.Response:
        """Ask without cookies."""
        return httpx2.get(f"{self.url}{path}", verify=False, timeout=30, **options)

    def post(self, path: str, **options: Any) -> httpx2.Response:
        """Send a form without cookies."""
        return httpx2.post(f"{self.url}{path}", verify=False, timeout=30, **options)

    @contextmanager
    def browse(self, key: str = "") -> Iterator[httpx2.Client]:
        """Yield a client that has signed in, as a browser does, or that has not."""
        options = {"headers": {"accept": "text/html"}, "timeout": 30, "verify": False}
        with httpx2.Client(base_url=self.url, **options) as client:
            if key:
                reply = client.post("/status/sign-in", data={"key": key})
                assert reply.status_code == 303, reply.text
            yield client

    def dead_job(self, tenant: str, code: str = "bad_answer", **options) -> str:
        """Put a job on and let it fail; return its id."""
        (job_id,) = put(self.ledger, made(tenant, **options))
        while True:  # other tests may have left jobs that come first
            claim = self.ledger.claim("route")
            self.ledger.settle(claim, failure(claim, code))
            if claim.id == job_id:
                return job_id


def form_token(page: str) -> str:
    """Return the token that the forms of a page send along."""
    return re.search(r'name="token" value="([0-9a-f]{64})"', page)[1]
