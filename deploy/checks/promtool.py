"""Check and test the Prometheus rules, and the dashboard's queries, with the real promtool.

promtool comes with Prometheus. If it is not installed, it is unpacked from Debian's package
`prometheus` into `.cache/promtool`, without installing anything.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "forebay.json"
UNPACKED = ROOT / ".cache" / "promtool"
MISSING = (
    "promtool is missing: install Prometheus (apt-get install prometheus), or put promtool on PATH"
)


def find() -> str:
    """Return the path of promtool; unpack it from Debian's package if it is not installed.

    Raises:
        SystemExit: It is neither installed nor to be had.
    """
    if installed := shutil.which("promtool"):
        return installed
    program = UNPACKED / "promtool"
    if not program.exists():
        _unpack(program)
    return str(program)


def _unpack(program: Path) -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise SystemExit(MISSING)
    with tempfile.TemporaryDirectory() as folder:
        fetched = subprocess.run(
            ["apt-get", "download", "--quiet", "prometheus"],  # noqa: S607 - Debian's own
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        packages = list(Path(folder).glob("prometheus_*.deb"))
        if fetched.returncode or not packages:
            raise SystemExit(f"{MISSING}\n{fetched.stderr.strip()}")
        unpack = ["dpkg-deb", "--extract", str(packages[0]), folder]
        subprocess.run(unpack, check=True)  # noqa: S603 - arguments of our own
        program.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(Path(folder) / "usr" / "bin" / "promtool", program)


def dashboard_rules() -> str:
    """Return the queries of the dashboard as recording rules, which promtool can check."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(queries)
    ]
    return json.dumps({"groups": [{"name": "dashboard", "rules": rules}]})  # JSON is YAML


def main() -> int:
    """Check configuration, rules and dashboard, and run the tests of the rules."""
    program = find()
    with tempfile.TemporaryDirectory() as folder:
        queries = Path(folder) / "dashboard.yaml"
        queries.write_text(dashboard_rules())
        for words in (
            ["check", "config", "prometheus.yaml"],
            ["test", "rules", "alerts_test.yaml"],
            ["check", "rules", str(queries)],
        ):
            command = [program, *words]
            if code := subprocess.run(command, cwd=RULES, check=False).returncode:  # noqa: S603 - ours
                return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
