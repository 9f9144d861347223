"""Who takes a free slot of the batch, and who yields one."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.workers.engines.batching.request import QueuedRequest
from forebay.workers.engines.batching.slot_shares import (
    KNOWN_S,
    RECENT_S,
    SlotShares,
    reserved_places,
)
from forebay.workers.engines.engine import Prompt, Turn


class World:
    """A batch whose time the test moves."""

    def __init__(self, slots=4, reserved=1):
        self.now = 1_000.0
        self.shares = SlotShares(slots, reserved, lambda: self.now)
        self.ready, self.running = [], []

    def ask(self, tenant="acme", *, bulk=False, on_text=None, deadline=None):
        self.now += 0.001
        name = f"{tenant}.{len(self.ready) + len(self.running)}"
        turns = (Turn(role="user", content="x"),)
        prompt = Prompt(
            id=name, messages=turns, max_tokens=1, priority=int(bulk), tenant=tenant,
            deadline=deadline,
        )  # fmt: skip
        request = QueuedRequest(prompt, on_text, since=self.now)
        self.shares.note(request)
        self.ready.append(request)
        return request

    def fill(self):
        """Admit what may be admitted; return the requests."""
        admitted = []
        for request in self.shares.admissions(list(self.ready), list(self.running)):
            self.now += 0.001
            request.began = self.now
            self.ready.remove(request)
            self.running.append(request)
            admitted.append(request)
        return admitted

    def give_way(self):
        """Let a running request yield; return it."""
        request = self.shares.yielding(self.ready, self.running)
        if request is not None:
            self.running.remove(request)
            request.yields += 1
            self.ready.append(request)
        return request


@pytest.mark.parametrize(
    ("places", "share", "reserved"),
    [(4, 0.25, 1), (2, 0.25, 1), (1, 0.25, 0), (16, 0.25, 4), (10, 0, 0), (4, 0.9, 3)],
)
def test_a_share_reserves_at_least_one_place_of_two(places, share, reserved):
    assert reserved_places(places, share) == reserved


def test_bulk_never_holds_the_last_slot_while_interactive_requests_come():
    world = World()
    first = world.ask()
    assert world.fill() == [first]
    bulk = [world.ask(bulk=True) for _ in range(5)]
    assert world.fill() == bulk[:2]
    world.running.remove(first)
    assert world.fill() == bulk[2:3]
    later = world.ask()
    assert world.fill() == [later]


def test_bulk_fills_the_batch_while_nobody_waits_for_an_answer():
    world = World()
    world.ask()
    world.fill()
    world.running.clear()
    world.now += RECENT_S + 1
    bulk = [world.ask(bulk=True) for _ in range(5)]
    assert world.fill() == bulk[:4]


def test_the_bulk_request_that_began_last_yields_to_an_interactive_one():
    world = World()
    bulk = [world.ask(bulk=True) for _ in range(4)]
    world.fill()
    wanted = world.ask()
    assert world.give_way() is bulk[3]
    assert world.fill() == [wanted]
    assert bulk[3] in world.ready, "it waits again"


def test_a_bulk_request_of_an_unreserved_slot_yields_once():
    world = World(slots=2)
    bulk = world.ask(bulk=True)
    world.fill()
    world.ask()
    world.fill()
    wanted = world.ask()
    assert world.give_way() is bulk
    assert world.fill() == [wanted]
    world.running.remove(wanted)
    world.ready.remove(bulk)
    world.running.append(bulk)
    world.ask()
    assert world.give_way() is None, "its work would be lost again and again"


def test_a_text_that_somebody_reads_meanwhile_does_not_yield():
    world = World(slots=1, reserved=0)
    world.ask(bulk=True, on_text=print)
    world.fill()
    world.ask()
    assert world.give_way() is None


def test_a_tenant_leaves_the_last_slot_to_others_that_were_there_lately():
    world = World()
    other = world.ask("other")
    world.fill()
    world.running.remove(other)
    many = [world.ask("busy") for _ in range(6)]
    assert world.fill() == many[:3]
    assert world.fill() == []
    again = world.ask("other")
    assert world.fill() == [again]
    world.running.remove(again)
    world.now += RECENT_S + 1
    assert world.fill() == many[3:4]


def test_a_tenant_above_its_fair_share_yields_to_another():
    world = World()
    many = [world.ask("busy") for _ in range(4)]
    world.fill()
    first, second, third = (world.ask("other") for _ in range(3))
    assert world.give_way() is many[3]
    assert world.fill() == [first]
    assert world.give_way() is many[2]
    assert world.fill() == [second]
    assert world.give_way() is None, "both hold their share"
    assert third in world.ready


def test_a_slot_that_a_tenant_borrowed_is_given_back_however_often():
    world = World(reserved=0)
    for _ in range(4):
        world.ask("busy")
    world.fill()
    for _ in range(6):  # each comes after the other's share has been taken again
        world.now += RECENT_S + 1
        wanted = world.ask("other")
        assert world.give_way().prompt.tenant == "busy"
        assert world.fill() == [wanted]
        world.running.remove(wanted)
        world.now += RECENT_S + 1
        world.fill()
    began_first = [request for request in world.running if not request.yields]
    assert len(began_first) >= 2, "its own share is not taken from it"


def test_texts_that_are_read_leave_a_slot_to_a_tenant_that_is_expected_back():
    world = World()
    done = world.ask("other")
    world.fill()
    world.running.remove(done)
    world.now += RECENT_S + 1
    texts = [world.ask("busy", on_text=print) for _ in range(4)]
    assert world.fill() == texts[:3]
    wanted = world.ask("other")
    assert world.fill() == [wanted]
    world.running.remove(wanted)
    world.now += KNOWN_S + 1
    assert world.fill() == texts[3:], "no slot is empty in vain"


def test_a_request_that_can_yield_takes_the_last_slot():
    world = World()
    done = world.ask("other")
    world.fill()
    world.running.remove(done)
    world.now += RECENT_S + 1
    for on_text in (print, print, print, None):
        world.ask("busy", on_text=on_text)
    assert len(world.fill()) == 4


def test_of_equal_requests_the_tenant_with_less_goes_first():
    world = World(slots=2, reserved=0)
    busy = [world.ask("busy") for _ in range(3)]
    other = world.ask("other")
    assert world.fill() == [busy[0], other]


def test_deadlines_get_a_tenant_no_more_of_the_slots_than_others():
    world = World(slots=8, reserved=0)
    for _ in range(8):
        world.ask("hasty", deadline=2_000.0)
        for tenant in ("one", "two"):
            world.ask(tenant)
    held = Counter(request.prompt.tenant for request in world.fill())
    assert sorted(held.values()) == [2, 3, 3]


def test_tenants_share_the_slots_of_bulk_requests_too():
    world = World()
    busy = [world.ask("busy", bulk=True) for _ in range(6)]
    other = [world.ask("other", bulk=True) for _ in range(2)]
    assert set(map(id, world.fill())) == set(map(id, [*busy[:2], *other]))


@given(
    st.integers(1, 6),
    st.floats(0, 0.9),
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), min_size=1, max_size=20),
)
def test_whatever_comes_each_request_gets_a_slot_in_the_end(slots, share, asked):
    world = World(slots, reserved_places(slots, share))
    for tenant, bulk in asked:
        world.ask(tenant, bulk=bulk)
    done = []
    for _ in range(20 * len(asked)):
        world.fill()
        assert 0 < len(world.running) <= slots
        if world.give_way() is None:
            done.append(world.running.pop(0))
        if not (world.ready or world.running):
            break
    assert len(done) == len(asked)
