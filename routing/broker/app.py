"""The Celery application: the only place where Celery is configured.

Celery carries doorbells, nothing else. A doorbell says that a queue has one more job; which one is
the ledger's choice (`routing.ledger`). So priorities, schedules, results, retries and redelivery
are the ledger's too, and what Celery offers of those is switched off here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery import Celery
from celery.app.amqp import AMQP
from kombu import Connection, Queue
from redis.connection import parse_url

from forebay.routing.broker.transport import outliving
from forebay.routing.errors import Misconfigured
from forebay.routing.lanes import ROUTE
from forebay.routing.settings import Settings, read_settings
from forebay.routing.store.sentinel import Sentinels

#: A doorbell that is delivered again is harmless, so Celery's own redelivery may wait for long.
VISIBILITY_S = 86_400

TRANSPORT: dict[str, Any] = {
    "visibility_timeout": VISIBILITY_S,
    "priority_steps": [0],  # one Redis list a queue, named after it
    "socket_timeout": 30,  # without it a half-open connection hangs a worker for ever
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 25,
    # No retries below kombu: redis-py would make a lost pub/sub connection anew and read from it
    # until somebody publishes, in the worker's only loop. Kombu comes back by itself.
    "retry_on_timeout": False,
    "unacked_restore_throttle": 1,
}


#: Seconds between two tries to reach Redis again. Left alone they grow to half a minute, which a
#: worker would then be idle after a long outage.
RECONNECT_S = 1


class _Broker(Connection):  # type: ignore[misc] # kombu has no types
    """A connection that comes back soon after Redis does, and that no garbage ends."""

    def get_transport_cls(self) -> Any:
        return outliving(super().get_transport_cls())

    def _ensure_connection(self, *args: Any, **options: Any) -> Any:
        pauses = {"interval_start": RECONNECT_S, "interval_step": 0, "interval_max": RECONNECT_S}
        return super()._ensure_connection(*args, **{**options, **pauses})

    @property
    def connection_errors(self) -> tuple[type[BaseException], ...]:
        """Kombu's Sentinel channel answers an ack that comes after its end with AttributeError."""
        return (*super().connection_errors, AttributeError)


class _Amqp(AMQP):  # type: ignore[misc] # Celery has no types
    Connection = _Broker


def celery_app(settings: Settings, queues: Sequence[str] = (ROUTE,)) -> Celery:
    """An application whose workers consume these queues when they are started without `-Q`.

    Raises:
        Misconfigured: The URL names Sentinels or TLS, and cannot be read.
    """
    app = Celery("forebay", set_as_current=False, amqp=_Amqp)
    url, options = broker(settings)
    app.conf.update(
        broker_url=url,
        broker_transport_options=TRANSPORT | options,
        broker_use_ssl=tls(settings.redis_url),
        visibility_timeout=VISIBILITY_S,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # a worker outlives any outage of Redis
        broker_channel_error_retry=True,  # ... and a failover that leaves it on a replica
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
        worker_enable_prefetch_count_reduction=False,  # ... and must not cost its slot afterwards
        worker_enable_remote_control=True,
        enable_utc=True,
    )
    return app


def broker(settings: Settings) -> tuple[str, dict[str, Any]]:
    """The same Redis in kombu's spelling: its URL and its transport options."""
    sentinels = Sentinels.of(settings)
    if sentinels:
        return sentinels.broker()
    return settings.redis_url.replace("unix://", "redis+socket://", 1), {}


def tls(redis_url: str) -> dict[str, Any] | None:
    """How a `rediss://` URL wants its connection kept; none without TLS.

    As redis-py reads it: the certificate is checked unless the URL says otherwise. Kombu left to
    itself would not check it.

    Raises:
        Misconfigured: The URL cannot be read.
    """
    if not redis_url.startswith("rediss://"):
        return None
    try:
        asked = parse_url(redis_url)  # type: ignore[no-untyped-call]
    except ValueError:
        raise Misconfigured("cannot be read", field="FOREBAY_REDIS_URL") from None
    said = {key: value for key, value in asked.items() if key.startswith("ssl_")}
    return {"ssl_cert_reqs": "required", **said}


def __getattr__(name: str) -> Celery:
    """Make `app` when Celery asks for it, so that settings are read then and not at import."""
    if name != "app":
        raise AttributeError(name)
    return celery_app(read_settings())
