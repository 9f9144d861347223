"""A fleet's books as the commands about money find them."""

import time
from dataclasses import asdict

import pytest

from egress import HAIKU, leaving
from forebay.routing.books.egress_log import EgressLog
from forebay.routing.books.job_book import JobBook
from forebay.routing.books.job_counts import (
    JobGroup,
    audit_count,
    check_count,
    job_counts,
    up_count,
)
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.prices import Prices, Usage

PRICES = Prices.load()
TOKENS = Usage(1_000, 100)
COST = PRICES.cost(HAIKU, TOKENS)


@pytest.fixture
def calls(redis):
    """Reserve, write down and close calls; each gets its own job."""
    budget, log = Budget(redis), EgressLog(redis)

    def make(*names, tenant="acme", state="settled", stand_in=False, purpose="answer", model=HAIKU):
        for name in names:
            job = f"{tenant}.{name}"
            terms = {
                "model": model, "base": model, "region": "us-east-1", "tier": "default",
                "prices": PRICES.version, "purpose": purpose,
            }  # fmt: skip
            budget.reserve(name, job, tenant, 10**9, term_s=60, terms=terms)
            log.append(leaving(name, job, model=model))
            if state == "settled":
                bill = {"tokens": asdict(TOKENS), "tier": "default", "stand_in": stand_in}
                budget.settle(name, PRICES.cost(model, TOKENS), bill=bill)
            elif state == "released":
                budget.release(name)

    return make


@pytest.fixture
def jobs(redis):
    """Count jobs of the last hour."""
    book = JobBook(redis)

    def count(number=10, *, nusd=0, **fields):
        common = {"tenant": "acme", "kind": "classify", "egress": "allow", "state": "done"}
        group = JobGroup(**common | {"lane": "local", "model": "tiny"} | fields)
        counts = job_counts(
            group, jobs=number, tokens_in=900 * number, tokens_out=100 * number, nusd=nusd
        )
        book.add(counts, time.time())

    def other():
        counts = {
            up_count("acme", "classify", "verdict_hard"): 3,
            up_count("beta", "classify", "doubtful"): 1,
            check_count("acme", "classify", "grounding"): 4,
            audit_count("acme", "classify", agreed=True, stand_in=False): 3,
            audit_count("acme", "classify", agreed=False, stand_in=False): 1,
            audit_count("acme", "classify", agreed=False, stand_in=True): 50,
        }
        book.add(counts, time.time())

    count.other = other
    return count
