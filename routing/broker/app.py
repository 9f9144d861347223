"""The Celery application: the only place where Celery is configured.

Celery carries doorbells and nothing else. A doorbell says that a queue has one more job, not which;
the ledger chooses the job (`forebay.routing.ledger`). Priorities, schedules, results, retries and
redelivery are the ledger's as well, so what Celery offers of them is switched off here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

from celery import Celery
from celery.app.amqp import AMQP
from kombu import Connection, Queue
from redis.connection import parse_url

from forebay.routing.broker.doorbell import PACKAGED, template
from forebay.routing.broker.transport import dropping_garbage
from forebay.routing.errors import Misconfigured
from forebay.routing.lanes import ROUTE
from forebay.routing.settings import Settings, read_settings
from forebay.routing.store.connections.sentinel import Sentinels

TRANSPORT: dict[str, Any] = {
    # Kombu would keep each doorbell in Redis until it is acknowledged: two transactions, which cost
    # more than a claim. If a doorbell gets lost with its worker, the sweeper rings again.
    "ack_emulation": False,
    "priority_steps": [0],  # one Redis list per queue, with the queue's name
    "socket_timeout": 30,  # without it, a half-open connection hangs a worker for ever
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 25,
    # No retries below kombu: redis-py would open a lost pub/sub connection again and read from it
    # until something is published, in the worker's only loop. Kombu reconnects by itself.
    "retry_on_timeout": False,
}

#: Seconds between two attempts to reach Redis again. Celery's default grows to half a minute, for
#: which a worker would be idle after a long outage.
RECONNECT_S = 1


class _Broker(Connection):  # type: ignore[misc] # kombu has no types
    """A connection that comes back soon after Redis does, and that garbage does not end."""

    def get_transport_cls(self) -> Any:
        return dropping_garbage(super().get_transport_cls())

    def _ensure_connection(self, *args: Any, **options: Any) -> Any:
        pauses = {"interval_start": RECONNECT_S, "interval_step": 0, "interval_max": RECONNECT_S}
        return super()._ensure_connection(*args, **{**options, **pauses})

    @property
    def connection_errors(self) -> tuple[type[BaseException], ...]:
        """Kombu's own, and AttributeError: its closed Sentinel channel raises that on an ack."""
        return (*super().connection_errors, AttributeError)


class _Amqp(AMQP):  # type: ignore[misc] # Celery has no types
    Connection = _Broker


def celery_app(settings: Settings, queues: Sequence[str] = (ROUTE,)) -> Celery:
    """Return an application whose workers consume these queues if they are started without `-Q`.

    Raises:
        Misconfigured: The URL names Sentinels or TLS, and cannot be read.
    """
    app = Celery("forebay", set_as_current=False, amqp=_Amqp)
    url, options = broker(settings)
    app.conf.update(
        broker_url=url,
        broker_transport_options=TRANSPORT | options,
        broker_use_ssl=tls(settings.redis_url),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # a worker outlives any outage of Redis
        broker_channel_error_retry=True,  # ... and a failover that leaves it connected to a replica
        result_backend=None,
        task_ignore_result=True,
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        task_serializer="json",
        accept_content=["json"],
        task_default_queue=queues[0],
        task_queues=[Queue(name) for name in queues],
        worker_send_task_events=True,  # receipts, for Flower
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,  # a thread cannot be cancelled
        worker_enable_prefetch_count_reduction=False,  # ... and must not cost a slot afterwards
        worker_enable_remote_control=True,
        enable_utc=True,
    )
    return app


def broker(settings: Settings) -> tuple[str, dict[str, Any]]:
    """Return the URL and the transport options by which kombu reaches the Redis of the settings."""
    sentinels = Sentinels.of(settings)
    if sentinels:
        return sentinels.broker()
    if settings.redis_url.startswith("unix://"):
        return _unix_broker(settings.redis_url), {}
    return settings.redis_url, {}


def _unix_broker(redis_url: str) -> str:
    """Return kombu's spelling of a `unix://` URL: another scheme, and `virtual_host` for `db`."""
    _, _, rest = redis_url.partition("://")
    where, _, query = rest.partition("?")
    options = [(("virtual_host" if key == "db" else key), value) for key, value in parse_qsl(query)]
    return f"redis+socket://{where}?{urlencode(options)}" if options else f"redis+socket://{where}"


def tls(redis_url: str) -> dict[str, Any] | None:
    """Return the TLS options of a `rediss://` URL; `None` for a URL without TLS.

    As in redis-py, the certificate is verified unless the URL says otherwise. Kombu by itself would
    not verify it.

    Raises:
        Misconfigured: The URL cannot be read.
    """
    if not redis_url.startswith("rediss://"):
        return None
    try:
        options = parse_url(redis_url)  # type: ignore[no-untyped-call]
    except ValueError:
        hint = "must read rediss://[user:password@]host[:port][/db]"
        raise Misconfigured(hint, field="FOREBAY_REDIS_URL") from None
    tls_options = {name: value for name, value in options.items() if name.startswith("ssl_")}
    return {"ssl_cert_reqs": "required", **tls_options}


def __getattr__(name: str) -> Celery:
    """Make `app` when Celery asks for it, so that settings are read then and not at import."""
    if name != "app":
        raise AttributeError(name)
    return celery_app(read_settings())


if __name__ == "__main__":  # make the doorbell's template anew
    PACKAGED.write_text(template(celery_app(Settings())) + "\n")
