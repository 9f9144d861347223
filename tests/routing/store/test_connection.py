"""Connecting to Redis: by its own URL, or through Sentinels."""

from __future__ import annotations

import pytest
from kombu import Connection
from redis import exceptions as redis_errors

from forebay.routing.broker.app import celery_app
from forebay.routing.errors import Misconfigured, RedisUnavailable, Unavailable
from forebay.routing.settings import Settings
from forebay.routing.store.connection import connect, error_of, reaching_redis
from forebay.routing.store.connections.sentinel import Sentinels

LOGIN = "sentinel://worker:p%40ss%2Fword@one,two:26380/fleet%201?db=3"


def sentinels(url: str, **more) -> Sentinels | None:
    return Sentinels.of(Settings(redis_url=url, **more))


def test_a_sentinel_url_is_read():
    found = sentinels(LOGIN, sentinel_password="other")
    assert found == Sentinels(
        hosts=(("one", 26379), ("two", 26380)),
        service="fleet 1",
        db=3,
        username="worker",
        password="p@ss/word",
        sentinel_password="other",
    )


def test_an_ipv6_address_has_brackets_only_in_urls():
    found = sentinels("sentinel://[::1]:26380,[::2]/service")
    assert found.hosts == (("::1", 26380), ("::2", 26379))
    assert found.broker()[0] == "sentinel://[::1]:26380/0;sentinel://[::2]:26379/0"


@pytest.mark.parametrize("scheme", ["redis", "rediss", "unix"])
def test_a_redis_url_names_no_sentinels(scheme):
    assert sentinels(f"{scheme}://host/0") is None


@pytest.mark.parametrize(
    "url",
    [
        "sentinel:",
        "sentinel://",
        "sentinel://host",
        "sentinel://host/",
        "sentinel://host/service/0",
        "sentinel:///service",
        "sentinel://host,/service",
        "sentinel://host:0/service",
        "sentinel://host:65536/service",
        "sentinel://host:port/service",
        "sentinel://host/service?db=x",
        "sentinel://host/service?db=-1",
        "sentinel://host/service?database=1",
        "sentinel://host/service?db",
        "sentinel://[::1/service",
        "sentinel://user:secret@ho st/service",
    ],
)
def test_a_url_that_cannot_be_read_is_one_clear_error_that_repeats_no_part_of_it(url):
    for use in (connect, celery_app):
        with pytest.raises(Misconfigured) as caught:
            use(Settings(redis_url=url))
        assert caught.value.field == "FOREBAY_REDIS_URL"
        assert "secret" not in str(caught.value)


def test_the_client_asks_all_sentinels_for_the_primary():
    client = connect(Settings(redis_url=LOGIN, sentinel_password="other"))
    pool = client.connection_pool
    assert (pool.service_name, pool.is_master) == ("fleet 1", True)
    asked = [one.connection_pool.connection_kwargs for one in pool.sentinel_manager.sentinels]
    assert [(one["host"], one["port"]) for one in asked] == [("one", 26379), ("two", 26380)]
    assert {one["password"] for one in asked} == {"other"}
    own = pool.connection_kwargs
    assert (own["db"], own["username"], own["password"]) == (3, "worker", "p@ss/word")
    assert own["retry"].get_retries() == 3


def test_celery_reaches_the_same_sentinels():
    app = celery_app(Settings(redis_url=LOGIN, sentinel_password="other"))
    options = app.conf.broker_transport_options
    assert options["master_name"] == "fleet 1"
    assert options["sentinel_kwargs"]["password"] == "other"
    with Connection(app.conf.broker_url) as broker:
        assert [one.rpartition("@")[2] for one in broker.alt] == ["one:26379/3", "two:26380/3"]
        first = broker.info()
        assert (first["userid"], first["password"]) == ("worker", "p@ss/word")
        assert first["virtual_host"] == "3"


def test_no_password_is_shown():
    settings = Settings(redis_url=LOGIN, sentinel_password="other")
    app = celery_app(settings)
    shown = [repr(Sentinels.of(settings)), repr(connect(settings)), repr(settings)]
    shown += [app.connection().as_uri(), repr(app.connection())]
    assert [one for one in shown if "p@ss" in one or "p%40ss" in one or "other" in one] == []


def test_a_brisk_client_does_not_wait_long():
    for url in ("redis://host/0", "sentinel://host/service"):
        own = connect(Settings(redis_url=url), "look").connection_pool.connection_kwargs
        assert own["socket_timeout"] == 2
        assert own["retry"].get_retries() == 0


@pytest.fixture
def address(redis):
    """Where the server listens; a user `weak` may do nothing there but connect."""
    redis.execute_command("ACL", "SETUSER", "weak", "on", ">pw", "+ping", "~*")
    options = redis.connection_pool.connection_kwargs
    yield f"{options['host']}:{options['port']}"
    redis.execute_command("ACL", "DELUSER", "weak")


@pytest.mark.parametrize(
    ("login", "database", "says"),
    [
        ("weak:wrong@", "0", "WRONGPASS"),
        ("nobody:hunter2@", "0", "WRONGPASS"),
        ("", "99999", "DB index"),
        ("weak:pw@", "0", "NOPERM"),
    ],
)
def test_the_class_of_redis_own_reason_is_said_without_the_password(address, login, database, says):
    client = connect(Settings(redis_url=f"redis://{login}{address}/{database}"))
    with pytest.raises(Misconfigured) as caught, reaching_redis():
        client.get("fb:job:secret")
    assert caught.value.field == "FOREBAY_REDIS_URL"
    assert says in caught.value.message
    assert address in caught.value.message
    for word in ("wrong@", "hunter2", ":pw", "fb:job", "secret"):
        assert word not in str(caught.value)
    client.close()


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (redis_errors.AuthenticationError("Authentication required."), "NOAUTH"),
        (
            redis_errors.AuthenticationError(
                "HELLO must be called with the client already authenticated, otherwise the HELLO"
            ),
            "NOAUTH",
        ),
        (redis_errors.AuthenticationError("invalid password"), "WRONGPASS"),
        (redis_errors.ResponseError("DB index is out of range"), "DB index"),
        (redis_errors.ResponseError("ACL failure in script: no right to `get` x"), "NOPERM"),
        (redis_errors.AuthenticationError("something new: hunter2"), "refuses this user"),
    ],
)
def test_a_refusal_in_any_form_is_a_wrong_setting(error, says):
    with pytest.raises(Misconfigured, match=says) as caught, reaching_redis():
        raise error
    assert "hunter2" not in str(caught.value)


def test_an_address_where_nothing_listens_is_named_without_the_password():
    with pytest.raises(Unavailable) as caught, reaching_redis():
        connect(Settings(redis_url="redis://me:hunter2@127.0.0.1:1/2"), "look").ping()
    assert "redis://me:***@127.0.0.1:1/2" in caught.value.message
    assert "hunter2" not in str(caught.value)


def test_a_full_disk_of_redis_is_told_as_such_and_passes():
    text = "MISCONF Errors writing to the AOF file: No space left on device"
    error = error_of(redis_errors.ResponseError(text))
    assert isinstance(error, RedisUnavailable)
    assert error.message == "Redis cannot write to its disk, which is full or broken (MISCONF)"
