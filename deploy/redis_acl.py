"""Users of Redis, one a role, each with what its role needs and no more.

    python deploy/acl.py --out FOLDER support payroll

writes `FOLDER/users.acl` for `aclfile` in redis.conf (it holds digests of the passwords), and
`FOLDER/passwords.txt`, a line a user. Passwords that are there already are kept, so that a tenant
can be added later: run it again with all tenants, copy the file, `ACL LOAD`.

Scripts are no way around these rules: Redis holds each command in a script against its caller's.
"""

from __future__ import annotations

import argparse
import hashlib
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

#: Everybody: get in, and run the transitions.
ENTER = "+auth +hello +ping +echo +select +time +quit +client|setinfo +client|setname +client|id"
RUN = "+evalsha +script|load +script|exists +multi +exec +discard"

#: What a producer may do with its own tenant's keys, and only with those.
OWN_COMMANDS = (
    "+@hash +@string +@set +@sortedset +@stream +del +unlink +rename +exists +expire +pexpire"
)
OWN_KEYS = (
    "fb:job:{}.*", "fb:content:{}.*", "fb:answer:{}.*", "fb:draft:{}.*", "fb:cached:{}.*",
    "fb:watchers:{}.*", "fb:cache:{}:*", "fb:idempotency:{}:*", "fb:waiting:*:{}", "fb:wake:{}:*",
    "fb:dead:{}",
)  # fmt: skip

#: What the scripts that a producer runs do with keys that all tenants share.
SHARED = (
    "(+llen +lpush ~route)",
    "(+llen ~local.* ~embed ~bedrock)",
    "(+hget +hgetall +hlen +hincrby ~fb:depth)",
    "(+hget +hlen +hset ~fb:clock)",
    "(+get +incr ~fb:rings)",
    "(+zcard +zrem ~fb:leases ~fb:later)",
    "(+zcard +zadd +zrem ~fb:deadlines)",
    "(+exists +zcard +zadd +zrem +zscore +zrange ~fb:turn:*)",
    "(+zcard ~fb:waiting:*)",
    "(+zcount ~fb:serving:*)",
    "(+get +exists ~fb:full)",
)

#: All that is neither an administrator's nor a script of somebody's own.
WORK = f"+@all -@admin -@dangerous -@scripting {RUN}"
#: Celery's: its queues, what it has not acknowledged, its messages about itself.
QUEUES = "~route ~local.* ~embed ~bedrock ~sweep"
KOMBU = "~_kombu.binding* ~unacked* ~celeryev.* ~*.celery.pidbox &*"

#: The sweeper ends jobs and reads neither requests nor answers (it may make a draft the answer).
UPKEEP = (
    "job:*", "waiting:*", "turn:*", "clock", "depth", "picks", "leases", "later", "deadlines",
    "dead:*", "full", "idempotency:*", "rings", "quiet", "serving:*", "watchers:*", "wake:*",
)  # fmt: skip
ENDS = "%W~fb:content:* ~fb:draft:* %W~fb:answer:*"

ROLES: Mapping[str, str] = {
    "worker": f"{WORK} ~fb:* {QUEUES} {KOMBU}",
    "sweeper": f"{WORK} +info {' '.join(f'~fb:{key}' for key in UPKEEP)} {ENDS} {QUEUES} {KOMBU}",
    "flower": f"{WORK} {KOMBU} (+llen {QUEUES})",
    "operator": "+@all -@dangerous +info +config|get +acl|log ~* &*",
}


def producer(tenant: str) -> str:
    """The rules of a tenant's producers."""
    keys = " ".join(f"~{key.format(tenant)}" for key in OWN_KEYS)
    return f"{ENTER} {RUN} {OWN_COMMANDS} {keys} {' '.join(SHARED)}"


def users(passwords: Mapping[str, str]) -> list[str]:
    """The lines of an ACL file: a user that is no role is the producer of the tenant so named."""
    lines = ["user default off"]
    for user, password in passwords.items():
        rules = ROLES.get(user) or producer(user.removeprefix("producer-"))
        digest = hashlib.sha256(password.encode()).hexdigest()
        lines.append(f"user {user} on #{digest} {rules}")
    return lines


def names(tenants: Iterable[str]) -> list[str]:
    """All users of a fleet with these tenants."""
    return [*ROLES, *(f"producer-{tenant}" for tenant in tenants)]


def write(folder: Path, tenants: Iterable[str]) -> dict[str, str]:
    """Write both files, for their owner's eyes; returns the passwords by user."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = folder / "passwords.txt"
    known = dict(line.split() for line in kept.read_text().splitlines()) if kept.exists() else {}
    passwords = {user: known.get(user) or secrets.token_urlsafe(32) for user in names(tenants)}
    for path, lines in (
        (kept, [f"{user} {password}" for user, password in passwords.items()]),
        (folder / "users.acl", users(passwords)),
    ):
        path.touch(mode=0o600)
        path.write_text("\n".join(lines) + "\n")
    return passwords


def main() -> None:
    """Write the files that the command line asks for."""
    parser = argparse.ArgumentParser(description="Make users of Redis, one a role.")
    parser.add_argument("--out", type=Path, required=True, help="folder for both files")
    parser.add_argument("tenants", nargs="+", help="who has producers that reach Redis themselves")
    given = parser.parse_args()
    write(given.out, given.tenants)
    print(f"wrote {given.out / 'users.acl'} and {given.out / 'passwords.txt'}")


if __name__ == "__main__":
    main()
