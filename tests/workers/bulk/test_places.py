"""The places for rows in the engine, which shards share."""

import threading

from forebay.workers.bulk.places import Places


def test_no_more_places_are_taken_than_are_free():
    places = Places(3)
    assert places.take(2, wait=False) == 2
    assert places.take(2, wait=False) == 1
    assert places.take(2, wait=False) == 0
    places.give_back(2)
    assert places.take(5, wait=True) == 2


def test_a_shard_without_a_place_waits_for_one():
    places = Places(1)
    places.take(1, wait=True)
    taken = []
    waiting = threading.Thread(target=lambda: taken.append(places.take(4, wait=True)))
    waiting.start()
    waiting.join(0.1)
    assert not taken
    places.give_back(1)
    waiting.join(5)
    assert taken == [1]


def test_nothing_is_waited_for_if_no_row_is_left():
    places = Places(1)
    places.take(1, wait=True)
    assert places.take(0, wait=True) == 0
