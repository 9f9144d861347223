"""The places for rows in the engine, which shards share."""

import threading

from forebay.workers.bulk.places import Places


def test_no_more_places_are_taken_than_are_free():
    places = Places(3)
    assert places.take(2) == 2
    assert places.take(2) == 1
    assert places.take(2) == 0
    places.give_back(2)
    assert places.take(5, within_s=5) == 2


def test_a_shard_without_a_place_waits_for_one():
    places = Places(1)
    places.take(1, within_s=5)
    taken = []
    waiting = threading.Thread(target=lambda: taken.append(places.take(4, within_s=5)))
    waiting.start()
    waiting.join(0.1)
    assert not taken
    places.give_back(1)
    waiting.join(5)
    assert taken == [1]


def test_a_shard_waits_for_a_place_no_longer_than_it_says():
    places = Places(1)
    places.take(1)
    assert places.take(4, within_s=0.01) == 0


def test_nothing_is_waited_for_if_no_row_is_left():
    places = Places(1)
    places.take(1, within_s=5)
    assert places.take(0, within_s=5) == 0
