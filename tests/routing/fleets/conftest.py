import pytest

from two_fleets import TwoFleets, two_redis


@pytest.fixture(scope="session")
def urls(tmp_path_factory):
    with two_redis(tmp_path_factory.mktemp("fleets")) as urls:
        yield urls


@pytest.fixture
def two(tmp_path, urls):
    two = TwoFleets(tmp_path, urls)
    yield two
    two.close()
