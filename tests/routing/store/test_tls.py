"""TLS to Redis with verified certificates and a secret password; JSON messages and no pickle.

The Redis server of the tests has no TLS, so a proxy in front of it terminates TLS.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import ipaddress
import json
import os
import pickle
import socket
import socketserver
import ssl
import threading

import pytest
import redis as redis_py
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kombu.exceptions import OperationalError

from forebay.producers.client import Client
from forebay.routing.broker.app import celery_app, tls
from forebay.routing.errors import ForebayError, Misconfigured, Unavailable
from forebay.routing.jobs import Summarize
from forebay.routing.settings import Settings
from forebay.routing.store.connection import connect, reaching_redis, without_password
from local.fleet import Fleet, free_port
from patience import until

pytestmark = pytest.mark.slow

PASSWORD = "a-password-that-is-seen-nowhere"
MET = Summarize(text="[[echo: say=We met at noon.]] We met at noon.")


def certified(folder):
    """Make a key and its certificate for this machine; return the files of the CA and of both."""
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    here = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(here), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ca, both = folder / "ca.pem", folder / "server.pem"
    ca.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    both.write_bytes(ca.read_bytes() + key.private_bytes(serialization.Encoding.PEM, *form))
    return ca, both


class Proxy(socketserver.ThreadingTCPServer):
    """Terminates TLS, and forwards the connection to a server on this machine."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, certificate, port: int) -> None:
        super().__init__(("127.0.0.1", 0), Forwarding)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)
        self.port = port

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return super().__enter__()

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Forwarding(socketserver.BaseRequestHandler):
    """One connection; it ends if either side ends it or breaks off the handshake."""

    def handle(self):
        context = self.server.context
        raw = self.request.dup()
        with (
            contextlib.suppress(OSError),
            context.wrap_socket(raw, server_side=True) as inside,
            socket.create_connection(("127.0.0.1", self.server.port)) as beyond,
        ):
            back = threading.Thread(target=forward, args=(beyond, inside), daemon=True)
            back.start()
            forward(inside, beyond)
            back.join()


def forward(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """A fleet that reaches its Redis through TLS with a password, and the URL of that Redis."""
    folder = tmp_path_factory.mktemp("tls")
    ca, both = certified(folder)
    with Fleet(folder / "fleet") as fleet:
        port = free_port()
        fleet.start_redis(port, requirepass=PASSWORD)
        with Proxy(both, port) as proxy:
            place = f":{PASSWORD}@127.0.0.1:{proxy.server_address[1]}/0"
            url = f"rediss://{place}?ssl_ca_certs={ca}"
            for part in ("router", "sweeper", "flower"):
                fleet.start(part, FOREBAY_REDIS_URL=url)
            fleet.start("local", FOREBAY_REDIS_URL=url, FOREBAY_ENGINE="echo")
            fleet.wait_ready(90)
            yield fleet, url
            fleet.stop()


@pytest.fixture(scope="module")
def url(secured):
    return secured[1]


def plain(fleet) -> redis_py.Redis:
    return redis_py.Redis.from_url(fleet.url, password=PASSWORD)


def test_a_job_is_answered_with_tls_on_every_connection(secured, url):
    with Client(tenant="acme", settings=Settings(redis_url=url)) as client:
        assert client.run(MET, timeout=30).content.text == "We met at noon."


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("", "its certificate is refused, self-signed certificate: see ssl_ca_certs"),
        ("?ssl_ca_certs=/etc/hostname", "the file of ssl_ca_certs holds no certificate"),
        ("?ssl_ca_certs=/nowhere/ca.pem", "a file that its URL names is missing"),
    ],
)
def test_a_certificate_of_an_unknown_authority_is_refused(url, query, why):
    settings = Settings(redis_url=url.partition("?")[0] + query)
    with Client(tenant="acme", settings=settings) as client, pytest.raises(Unavailable) as refused:
        client.submit(MET)
    assert PASSWORD not in str(refused.value)
    assert f"({why})" in str(refused.value)
    broker = celery_app(settings).connection_for_write()
    with broker, pytest.raises(OperationalError):
        broker.ensure_connection(max_retries=1, timeout=2)


def test_a_scheme_that_the_server_does_not_speak_is_told(secured, url):
    fleet, _ = secured
    secret_port = url.partition("?")[0].partition("@")[2]
    plain_port = fleet.url.partition("//")[2]
    assert "say rediss://)" in complaint(f"redis://{secret_port}")
    assert "say redis://)" in complaint(f"rediss://{plain_port}")
    assert "(Connection refused)" in complaint("redis://127.0.0.1:1")
    assert "(its host has no address)" in complaint("redis://no.invalid")


def complaint(url) -> str:
    """Return why a Redis cannot be reached."""
    client = connect(Settings(redis_url=url), "look")
    with pytest.raises(Unavailable) as refused, reaching_redis():
        client.ping()
    return str(refused.value)


def test_the_broker_checks_certificates_as_the_client_does(url):
    assert tls("redis://here") is None
    assert tls("rediss://here") == {"ssl_cert_reqs": "required"}
    asked = tls(url)
    assert asked["ssl_cert_reqs"] == "required"
    assert asked["ssl_ca_certs"].endswith("ca.pem")
    assert tls("rediss://here?ssl_cert_reqs=none") == {"ssl_cert_reqs": "none"}
    with celery_app(Settings(redis_url=url)).connection_for_write() as connection:
        assert connection.default_channel.client.ping()


def test_the_password_is_in_no_log(secured, url):
    fleet, _ = secured
    logs = {path.name: path.read_text() for path in fleet.logs.iterdir()}
    assert {"router1.log", "local1.log", "sweeper1.log", "flower.log"} <= logs.keys()
    assert [name for name, log in logs.items() if PASSWORD in log] == []
    assert PASSWORD not in without_password(url)


@pytest.mark.parametrize(
    "wrong",
    ["redis://:{}-no@127.0.0.1:{}/0", "redis://127.0.0.1:{1}/0", "redis://:{}@127.0.0.1:1/0",
     "nonsense://:{}@here"],
)  # fmt: skip
def test_the_password_is_in_no_error(secured, wrong):
    fleet, _ = secured
    port = fleet.url.rpartition(":")[2].partition("/")[0]
    settings = Settings(redis_url=wrong.format(PASSWORD, port))
    with pytest.raises(ForebayError) as refused, Client(tenant="acme", settings=settings) as client:
        client.submit(MET)
    assert PASSWORD not in str(refused.value) + repr(refused.value) + repr(refused.value.__cause__)


def test_a_url_that_cannot_be_read_is_one_clear_error():
    with pytest.raises(Misconfigured) as refused:
        tls(f"rediss://:{PASSWORD}@here:port")
    assert PASSWORD not in str(refused.value)


# --- forged messages on a queue -----------------------------------------------------------------


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mknod, (str(self.path),)


def forged(body: bytes, kind: str) -> str:
    """Make a message to the router that Celery reads, with a forged body."""
    message = {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "binary",
        "content-type": kind,
        "headers": {"lang": "py", "task": "forebay.route", "id": "forged", "argsrepr": "()"},
        "properties": {
            "body_encoding": "base64",
            "delivery_info": {"exchange": "", "routing_key": "route"},
            "delivery_mode": 2,
            "delivery_tag": f"forged-{kind}",
        },
    }
    return json.dumps(message)


@pytest.mark.parametrize("kind", ["application/x-python-serialize", "application/x-yaml"])
def test_a_pickled_message_is_not_read_and_the_worker_goes_on(secured, url, tmp_path, kind):
    fleet, _ = secured
    trap = tmp_path / "unpickled"
    body = pickle.dumps(((), {"by": Touch(trap)}, {}))
    with plain(fleet) as redis:
        redis.lpush("route", forged(body, kind))
        until(lambda: not redis.llen("route") and not redis.hlen("unacked"), 20)
    with Client(tenant="acme", settings=Settings(redis_url=url)) as client:
        assert client.run(MET, timeout=30).status == "done"
    (router,) = [proc for proc in fleet.procs if proc.name.startswith("router")]
    assert router.alive
    assert not trap.exists()
    pickle.loads(body)
    assert trap.exists(), "the trap itself does not work"


def test_messages_and_records_stay_small_whatever_a_job_holds(secured, url):
    fleet, _ = secured
    big = Summarize(text="[[echo: delay=20]] " + "word " * 30_000, focus="f" * 500)
    metadata = {f"key{number}": "m" * 1_000 for number in range(32)}
    with Client(tenant="acme", settings=Settings(redis_url=url)) as client, plain(fleet) as redis:
        job_id = client.submit(big, metadata=metadata, idempotency_key="k" * 200)
        record = redis.hgetall(f"fb:job:{job_id}")
        assert sum(len(key) + len(value) for key, value in record.items()) < 2_000
        assert all(len(bell) < 2_000 for bell in redis.lrange("route", 0, -1))
        client.forget(job_id)
