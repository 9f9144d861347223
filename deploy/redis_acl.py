"""Make users of Redis, one for each role, with the least rights that the role needs.

    python deploy/redis_acl.py --out FOLDER support payroll

writes `FOLDER/users.acl` for `aclfile` in redis.conf, with digests of the passwords, and
`FOLDER/passwords.txt`, one line for each user. Existing passwords are kept. To add a tenant, run it
again with all tenants, copy the file and run `ACL LOAD` as `operator`. With
`--url redis://HOST:PORT/DATABASE` it also writes `FOLDER/USER.env` for each user: the setting
FOREBAY_REDIS_URL with the user's password.

Scripts cannot bypass these rules: Redis checks the caller's rights for each command in a script.
"""

from __future__ import annotations

import argparse
import hashlib
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

#: Every user may connect. Producers run the transitions that the fleet has loaded, and no script of
#: their own: it could loop for ever, and nobody could end it once it has written.
ENTER = "+auth +hello +ping +echo +select +time +quit +client|setinfo +client|setname +client|id"
RUN = "+evalsha +script|exists +multi +exec +discard"
LOAD = "+script|load"

#: Commands of a producer on all keys of its tenant. Scripts name keys of several families in one.
OWN_COMMANDS = "+del +unlink +exists +expire +pexpire +ttl +pttl +type"
#: Keys of a tenant, and what its clients and their scripts run on each family besides. So none
#: writes an answer, a draft or the text of an answer, or gives a key another type. Whole
#: categories would hold commands that keep Redis busy for long (LCS, SORT, ZUNIONSTORE).
OWN_KEYS = {
    "fb:job:{}.*": "+hget +hmget +hgetall +hset +hlen +memory|usage",
    "fb:content:{}.*": "+get +set +getrange",
    "fb:answer:{}.*": "+get +getrange",
    "fb:draft:{}.*": "",
    "fb:asked:{}.*": "",
    "fb:stream:{}:*": "+xread +xrange",
    "fb:cached:{}.*": "+get",
    "fb:cache:{}:*": "",
    "fb:watchers:{}.*": "+sadd +scard +srandmember",
    "fb:wake:{}:*": "+xadd +xread +xrange +xlen +xtrim +memory|usage",
    "fb:idempotency:{}:*": "+get +set",
    "fb:dead:{}": "+zrem +zcard +zrevrange",
    "fb:deadlines:{}": "+zcard +zadd +zrem",
    "fb:promised:{}": "+get +incrby",
    "fb:held:{}": "+get +incrby",
    "fb:bulk:{}.*": "+hget +hgetall +hset +hsetnx +hincrby +hlen +memory|usage",
    "fb:bulks:{}": "+zadd +zrange +zrevrange +zremrangebyscore",
}  # fmt: skip

#: Commands of a producer on its own waiting jobs: it puts them before the router and nowhere else.
OWN_WAITING = (
    "(+exists +zcard +zrank +zrem +zadd ~fb:waiting:route:interactive:{})",
    "(+exists +zcard +zrank +zrem +zadd ~fb:waiting:route:bulk:{})",
    "(+exists +zcard +zrank +zrem +zadd ~fb:waiting:route:rows:{})",
    "(+exists +zcard +zrank +zrem ~fb:waiting:*:{})",
)

#: What a producer's scripts run to keep the answers so far of a shard that it cancels: they turn a
#: draft into the answer, and nothing else.
OWN_CUT_SHORT = "(+strlen +rename %RW~fb:draft:{}.* %W~fb:answer:{}.*)"

#: Commands that a producer's scripts run on keys which all tenants share, and on the tenant's
#: fence, which only an operator writes (see `fence.py`).
SHARED = (
    "(+llen +lpush ~route)",
    "(+llen ~local.* ~embed ~bedrock)",
    "(+hget +hgetall +hlen +hincrby ~fb:depth)",
    "(+hget +hlen ~fb:clock)",
    "(+get +incr ~fb:rings)",
    "(+zcard +zrem ~fb:leases ~fb:later)",
    "(+zcard +zadd +zrem ~fb:deadlines)",  # which the release before this one wrote
    "(+zcard +zrange ~fb:turn:*)",
    "(+sadd ~fb:newcomers:route:interactive ~fb:newcomers:route:bulk ~fb:newcomers:route:rows)",
    "(+scard +srandmember ~fb:newcomers:*)",
    "(+zcard ~fb:waiting:*)",
    "(+zcount ~fb:serving:*)",
    "(+get +exists ~fb:full ~fb:free ~fb:quota)",
    "(+hmget ~fb:counted)",
    "(+get %R~fb:moved:{})",
    "(+hgetall ~fb:rates:*)",
    "(+llen +lpush ~fb:cancelled)",
)

#: Every command except those of administrators and scripts that are not ours.
WORK = f"+@all -@admin -@dangerous -@scripting {RUN} {LOAD}"
#: Celery's keys: queues, unacknowledged messages, events and remote control.
QUEUES = "~route ~local.* ~embed ~bedrock ~sweep"
KOMBU = "~_kombu.binding* ~unacked* ~celeryev.* ~*.celery.pidbox &*"
#: What Flower needs of them: events, from any of 16 databases. It publishes nothing, so it can send
#: no remote control command.
EVENTS = "~_kombu.binding* ~celeryev.* ~*.celery.pidbox"
EVENT_CHANNELS = " ".join(f"&/{database}.celeryev/*" for database in range(16))
WATCH = f"+@all -@admin -@dangerous -@scripting -publish -scan -randomkey -dbsize {RUN}"

#: The sweeper ends jobs. It reads no request and no answer, but may turn a draft into the answer.
UPKEEP = (
    "job:*", "waiting:*", "turn:*", "newcomers:*", "clock", "since", "depth", "picks", "leases",
    "later", "deadlines*", "dead:*", "full", "idempotency:*", "rings", "quiet", "serving:*",
    "watchers:*", "wake:*", "free", "promised:*", "held:*", "quota", "queues",
    "tenants", "counted", "recovered", "bulk:*", "paused", "cancelled", "books:jobs:*",
    "workers", "worker:*", "hands", "born", "express:*",
)  # fmt: skip
#: What the sweeper reads of books, breaker, pace, batches and moves of tenants, to serve it as
#: metrics, and of the lanes that the routers have published.
FIGURES = (
    "%R~fb:spend:day:* %R~fb:spend:from:* %R~fb:spillway* %R~fb:pace:* %R~fb:lanes "
    "%R~fb:bedrock:* %R~fb:move:*"
)
ENDS = "%W~fb:content:* %W~fb:asked:* ~fb:draft:* %W~fb:answer:*"


def producer(tenant: str) -> str:
    """Return the rules of a tenant's producers."""
    keys = " ".join(f"~{key}" for key in OWN_KEYS)
    families = (f"({commands} ~{key})" for key, commands in OWN_KEYS.items() if commands)
    selectors = " ".join((*families, *OWN_WAITING, OWN_CUT_SHORT, *SHARED))
    return f"{ENTER} {RUN} {OWN_COMMANDS} {keys} {selectors}".replace("{}", tenant)


#: A gateway is a producer for all tenants. It also reads API keys and what tenants have spent,
#: counts the use of each key, keeps what it was asked, reads what it needs to find cached answers,
#: keeps batches, lists stored completions, and delivers events to webhooks.
GATEWAY = (
    f"{producer('*')} (+hget ~fb:keys) (+hmget ~fb:spend:day:* ~fb:spend:from:*) "
    "(+hmget +hset +pexpire ~fb:rate:*) (+get ~fb:cache-secret) (+zrangebyscore ~fb:models:*) "
    "(+mget ~fb:cache:*) (+set +getrange ~fb:asked:*) "
    "(+get +set +del ~fb:lease:*) (+hget +hset +hgetall +expire +del ~fb:batch:*) "
    "(+zadd +zrem +zrange +zrevrange +zremrangebyscore +expire ~fb:batches:*) "
    "(+zadd +zrem +zrange +zremrangebyrank +expire ~fb:completions:*) "
    "(+hset +hget +hgetall +hdel +smembers +sadd +srem ~fb:webhooks*) "
    "(+set ~fb:watchers:*.:webhooks) (+zadd +zrem +zrangebyscore ~fb:webhooks:due) "
    "(+hset +hgetall +expire +del ~fb:webhook:*) (+hset +expire ~fb:maps)"
)

ROLES: Mapping[str, str] = {
    "worker": f"{WORK} ~fb:* {QUEUES} {KOMBU}",
    "sweeper": (
        f"{WORK} +info {' '.join(f'~fb:{key}' for key in UPKEEP)} {ENDS} {FIGURES} {QUEUES} {KOMBU}"
    ),
    "flower": f"{WATCH} {EVENTS} {EVENT_CHANNELS} (+llen {QUEUES})",
    "gateway": GATEWAY,
    "operator": "+@all -@dangerous +info +config|get +acl|log +acl|load ~* &*",
}


def users(passwords: Mapping[str, str]) -> list[str]:
    """Return the lines of an ACL file. A user `producer-NAME` is a producer of tenant NAME."""
    lines = ["user default off"]
    for user, password in passwords.items():
        rules = ROLES.get(user) or producer(user.removeprefix("producer-"))
        digest = hashlib.sha256(password.encode()).hexdigest()
        lines.append(f"user {user} on #{digest} {rules}")
    return lines


def names(tenants: Iterable[str]) -> list[str]:
    """Return the names of all users of a fleet with these tenants."""
    return [*ROLES, *(f"producer-{tenant}" for tenant in tenants)]


def write(folder: Path, tenants: Iterable[str]) -> dict[str, str]:
    """Write both files, readable by their owner only; return the passwords by user."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    password_file = folder / "passwords.txt"
    known = (
        dict(line.split() for line in password_file.read_text().splitlines())
        if password_file.exists()
        else {}
    )
    passwords = {user: known.get(user) or secrets.token_urlsafe(32) for user in names(tenants)}
    for path, lines in (
        (password_file, [f"{user} {password}" for user, password in passwords.items()]),
        (folder / "users.acl", users(passwords)),
    ):
        path.touch(mode=0o600)
        path.write_text("\n".join(lines) + "\n")
    return passwords


def write_settings(folder: Path, url: str, passwords: Mapping[str, str]) -> None:
    """Write a file of settings for each user, readable by its owner only."""
    parts = urlsplit(url)
    for user, password in passwords.items():
        own = parts._replace(netloc=f"{user}:{password}@{parts.netloc}").geturl()
        path = folder / f"{user}.env"
        path.touch(mode=0o600)
        path.write_text(f"FOREBAY_REDIS_URL={own}\n")


def redis_url(text: str) -> str:
    """Return the URL of a Redis server without a user.

    Raises:
        argparse.ArgumentTypeError: It is no such URL.
    """
    parts = urlsplit(text)
    if parts.scheme not in {"redis", "rediss"} or not parts.hostname or "@" in parts.netloc:
        raise argparse.ArgumentTypeError(
            "must be redis://HOST:PORT/DATABASE or rediss://..., without user and password"
        )
    return text


def main() -> None:
    """Write the files that the command line asks for."""
    parser = argparse.ArgumentParser(description="Make users of Redis, one for each role.")
    parser.add_argument("--out", type=Path, required=True, help="folder for both files")
    parser.add_argument(
        "--url", type=redis_url, help="address of Redis; writes a file of settings for each user"
    )
    parser.add_argument(
        "tenants", nargs="+", help="tenants whose producers connect to Redis themselves"
    )
    options = parser.parse_args()
    passwords = write(options.out, options.tenants)
    print(f"wrote {options.out / 'users.acl'} and {options.out / 'passwords.txt'}")
    if options.url:
        write_settings(options.out, options.url, passwords)
        print(f"wrote {', '.join(f'{user}.env' for user in passwords)}")


if __name__ == "__main__":
    main()
