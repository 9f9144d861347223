"""The fleet of a trial: stock workers, the clients of others, and the attacker."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import redis_acl as acl
from local.fleet import PYTHON, Fleet
from local.process import ROOT, Process
from storms.neighbours import TENANTS
from storms.storm import ATTACKER, Storm

HERE = Path(__file__).resolve().parents[1]
BEDROCK_TIMEOUT_S = 3.0
SLOTS = 16  # of the batch; others need a quarter of it
POLICY = """
[defaults]
daily_budget_usd = inf
[fleet]
daily_budget_usd = inf
"""


class StormFleet(Fleet):
    """A `Fleet` for one storm; each part has its own user of Redis if the storm asks for it."""

    def __init__(self, storm: Storm, folder: Path) -> None:
        self._storm = storm
        self._users: Mapping[str, str] = {}
        policy = folder / "policy.toml"
        policy.write_text(POLICY + storm.policy)
        path = ":".join(map(str, (HERE, ROOT / "src", ROOT / "deploy")))
        env = {
            "CHAOS_FOLDER": str(folder / "fleet"),
            "PYTHONPATH": path,
            "FOREBAY_POLICY_FILE": str(policy),
            "FOREBAY_BEDROCK_TIMEOUT_S": str(BEDROCK_TIMEOUT_S),
        }
        super().__init__(folder / "fleet", {**env, **storm.env})

    def url_for(self, user: str) -> str:
        """Return the URL of Redis for a user; without users, the URL that all share."""
        if user not in self._users:
            return self.url
        return f"redis://{user}:{self._users[user]}@{self.url.removeprefix('redis://')}"

    def start_all(self) -> None:
        """Start Redis, which never rewrites its file, the mock and one worker of each kind."""
        config = dict(self._storm.redis)
        if self._storm.guarded:
            folder = self.folder.parent / "users"
            self._users = acl.write(folder, [*TENANTS, ATTACKER])
            config["aclfile"] = str(folder / "users.acl")
        self.start_redis(auto_aof_rewrite_percentage="0", **config)
        self.start("mock_bedrock")
        for part in ("router", "bedrock"):
            self.start(part, FOREBAY_REDIS_URL=self.url_for("worker"))
        echo = {"FOREBAY_ENGINE": "echo", "FOREBAY_SLOTS": str(SLOTS)}
        self.start("local", FOREBAY_REDIS_URL=self.url_for("worker"), **echo)
        self.start("sweeper", FOREBAY_REDIS_URL=self.url_for("sweeper"))
        self.wait_ready()

    def start_neighbours(self, seed: int, rate: float, span_s: float) -> Process:
        """Start the clients of the tenants that do nothing wrong."""
        words = ["--seed", str(seed), "--rate", str(rate), "--span", str(span_s)]
        urls = {tenant: self.url_for(f"producer-{tenant}") for tenant in TENANTS}
        return self._client("neighbours", words, {"CHAOS_URLS": json.dumps(urls)}, "submitting")

    def start_attack(self, seed: int, seconds: float) -> Process:
        """Start the storm."""
        words = [self._storm.name, "--seed", str(seed), "--seconds", str(seconds)]
        env = {"FOREBAY_REDIS_URL": self.url_for(f"producer-{ATTACKER}")}
        return self._client("attack", [*words, "--mock", self.mock_url], env, "attacking")

    def gone(self) -> list[str]:
        """Return the names of the parts that have ended, though nobody stopped them."""
        clients = {"neighbours", "attack"}
        return [part.name for part in self.procs if part.name not in clients and not part.alive]

    def _client(self, name: str, words: list[str], env: Mapping[str, str], says: str) -> Process:
        command = [PYTHON, HERE / "storms" / f"run_{name}.py", *words]
        process = self._run(name, command, env, lambda proc: proc.logged(says) is not None)
        process.wait_ready(60)
        return process
