"""A worker that cannot serve its metrics says why on one line, and does not start without them."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from local.process import PartFailed

pytestmark = pytest.mark.slow


def test_a_port_that_is_taken_is_named(fleet):
    fleet.start_redis()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        router = fleet.start("router", FOREBAY_METRICS_PORT=port)
        with pytest.raises(PartFailed, match=r"misconfigured: FOREBAY_METRICS_PORT: cannot listen"):
            router.wait_ready(60)
    assert "Traceback" not in router.log.read_text()
    assert f"127.0.0.1:{port}: Address already in use" in router.log.read_text()


def test_a_host_that_is_not_ours_is_named(fleet):
    fleet.start_redis()
    router = fleet.start("router", FOREBAY_METRICS_PORT="0", FOREBAY_METRICS_HOST="192.0.2.1")
    with pytest.raises(PartFailed, match=r"FOREBAY_METRICS_PORT: cannot listen at 192\.0\.2\.1:0"):
        router.wait_ready(60)


def test_without_the_extra_the_worker_names_it(redis_url):
    code = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from forebay.workers.telemetry.observers import observers; observers()"
    )
    env = {"FOREBAY_METRICS_PORT": "0", "FOREBAY_REDIS_URL": redis_url}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env
    )
    assert done.returncode == 2
    assert done.stderr == (
        "forebay: misconfigured: FOREBAY_METRICS_PORT: needs prometheus_client: "
        "install the extra `metrics`\n"
    )


def test_without_a_port_prometheus_client_is_not_even_imported():
    code = (
        "import sys\nfrom forebay.workers.telemetry.observers import observers\n"
        "assert len(observers()) == 3\nassert 'prometheus_client' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={})
