"""The budget of a bulk: no call is reserved beyond it, to the billionth of a dollar."""

import pytest

from forebay.routing.bulk.bulks import Bulks
from forebay.routing.errors import BudgetExceeded
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.budget import Budget
from forebay.routing.settings import Settings
from ledger_jobs import BELL
from shards import put, shard


@pytest.fixture
def made(redis):
    """Return a shard of a bulk that may cost 100 billionths of a dollar."""
    made = shard("a question", egress="allow")
    put(Ledger(redis, Settings(), BELL), made, max_nusd=100)
    return made


@pytest.fixture
def reserve(redis, made):
    """Return what reserves money for a call of the bulk; its earlier calls have ended."""

    def reserve(call, nusd):
        redis.delete(f"fb:spend:job:{made.id}")
        Budget(redis).reserve(call, made.id, "acme", nusd, term_s=0.001)

    return reserve


def costs(redis, made):
    record = Bulks(Ledger(redis, Settings(), BELL)).get(made.bulk)
    return record.settled_nusd, record.reserved_nusd


def test_the_budget_is_kept_to_the_last_billionth(redis, made, reserve):
    with pytest.raises(BudgetExceeded, match=r"the bulk's budget has \$0\.000000 left"):
        reserve("too-much", 101)
    assert costs(redis, made) == (0, 0)
    reserve("all", 100)
    assert costs(redis, made) == (0, 100)


def test_what_is_reserved_and_what_is_settled_are_no_longer_left(redis, made, reserve):
    reserve("a", 60)
    Budget(redis).settle("a", 30)
    assert costs(redis, made) == (30, 0)
    reserve("b", 40)
    assert costs(redis, made) == (30, 40)
    with pytest.raises(BudgetExceeded):
        reserve("c", 31)
    reserve("d", 30)
    Budget(redis).release("b")
    assert costs(redis, made) == (30, 30)
