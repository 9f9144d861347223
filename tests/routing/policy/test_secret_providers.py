"""Tokens of more providers, credentials in commands and files, and more harmless look-alikes.

Every secret is put together when the test runs, so that no file holds a text that looks like one.
"""

from __future__ import annotations

import random
import string
import uuid

import pytest

from forebay.routing.policy.secret_scanner import Scanner

SCANNER = Scanner()
RNG = random.Random(11)
LOWER, UPPER, DIGITS = string.ascii_lowercase, string.ascii_uppercase, string.digits
ALNUM = string.ascii_letters + DIGITS
HEX, B64, URL = DIGITS + "abcdef", ALNUM + "+/", ALNUM + "_-"


def token(*parts) -> str:
    """Join fixed texts and (alphabet, size) pairs."""
    return "".join(
        part if isinstance(part, str) else "".join(RNG.choices(part[0], k=part[1]))
        for part in parts
    )


def some_id() -> str:
    return str(uuid.UUID(int=RNG.getrandbits(128), version=4))


PASSWORD = ("a1", (ALNUM, 12))
SECRETS = {
    "elevenlabs": token("sk_", (HEX, 48)),
    "jina": token("jina_", (HEX, 32), (URL, 28)),
    "langfuse": f"sk-lf-{some_id()}",
    "firecrawl": token("fc-", (HEX, 32)),
    "modal": token("as-", "a1", (ALNUM, 20)),
    "runpod": token("rpa_", (UPPER + DIGITS, 40)),
    "vercel": token("vcp_", (ALNUM, 56)),
    "sourcegraph": token("sgp_", (HEX, 16), "_", (HEX, 40)),
    "hubspot": f"pat-na1-{some_id()}",
    "mailersend": token("mlsn.", (HEX, 64)),
    "flutterwave": token("FLWSECK-", (HEX, 32), "-X"),
    "duffel": token("duffel_live_", (URL, 43)),
    "mongodb atlas": token("mdb_sa_sk_", (URL, 40)),
    "posthog": token("phx_", (ALNUM, 43)),
    "clickhouse": token("4b1d", "a1", (ALNUM, 36)),
    "facebook": token("EAAC", "a1", (ALNUM, 160)),
    "x": token("A" * 22, (ALNUM, 60), "%3D", (ALNUM, 40)),
    "jfrog": token("cmVmdGtu", (ALNUM, 56)),
    "octopus": token("API-", "A1", (UPPER + DIGITS, 28)),
    "1password": token("A3-", *[(UPPER + DIGITS, 6), "-"] * 2, (UPPER + DIGITS, 5),
                       *["-", (UPPER + DIGITS, 5)] * 3),
    "pagerduty": token("pdus+_", (UPPER + DIGITS, 8), "_", (ALNUM, 36)),
    "pinterest": token("pina_", (ALNUM, 80)),
    "zoho": token("1000.", (HEX, 32), ".", (HEX, 32)),
    "render": token("rnd_", "a1", (ALNUM, 26)),
    "nuget": token("oy2", "a1", (LOWER + DIGITS, 41)),
    "clojars": token("CLOJARS_", (HEX, 60)),
    "gcp hmac": token("GOOG1E", (UPPER + DIGITS, 55)),
    "firebase": token("AAAA", (URL, 7), ":APA91b", (URL, 134)),
    "axiom": f"xaat-{some_id()}",
    "honeycomb": token("hcaik_01", (LOWER + DIGITS, 56)),
    "rapidapi": token((HEX, 10), "msh", (HEX, 15), "p1", (HEX, 6), "jsn", (HEX, 12)),
    "snyk": token("snyk_uat.", (HEX, 8), ".", (URL, 80)),
    "voyage": token("pa-", "a1", (URL, 41)),
    "wandb": token("wandb_v1_", (URL, 77)),
    "zuplo": token("zpka_", (LOWER + DIGITS, 32), "_", (HEX, 8)),
    "klaviyo": token("pk_", (HEX, 34)),
    "infracost": token("ico-", (ALNUM, 32)),
    "scalingo": token("tk-us-", (URL, 48)),
    "maxmind": token((ALNUM, 6), "_", (ALNUM, 29), "_mmk"),
    "intra42": token("s-s4t2ud-", (HEX, 64)),
    "defined networking": token("dnkey-", (ALNUM, 26), "-", (ALNUM, 52)),
    "openshift": token("sha256~", (URL, 43)),
    "cursor": token("key_", (HEX, 64)),
    "cloudflare": token("cfut_", (ALNUM, 40)),
    "gitlab session": token("_gitlab_session=", (HEX, 32)),
    "atlassian, scoped": token("ATSTT3xFf", (URL, 170)),
    "kubeadm": token("kubeadm join --to", "ken ", (LOWER + DIGITS, 6), ".", (LOWER + DIGITS, 16)),
    "netrc": token("machine api.example.org login bob password ", *PASSWORD),
    "curl": token("curl -u admin:", *PASSWORD, " https://example.org"),
    "mysql": token("mysql -u root -p", *PASSWORD),
    "docker": token('"auths": {"https://index.docker.io/v1/": {"auth": "', (B64, 40), '"}}'),
    "kubeconfig": token("client-key-data: ", (B64, 200)),
    "rails": token("secret_key_base: ", (HEX, 128)),
    "wireguard": token("PrivateKey = ", (B64, 43), "="),
    "azure api management": token("Ocp-Apim-Subscription-Key: ", (HEX, 32)),
    "cookie": token("Cookie: sessionid=", (LOWER + DIGITS, 32)),
    "one-time passwords": token("otpauth://totp/ACME:bob?secret=", (UPPER + "234567", 32)),
    "password, pl": token("Moje has\u0142o to ", *PASSWORD),
    "password, it": token("La password \u00e8 ", *PASSWORD),
    "password, ja": token("\u30d1\u30b9\u30ef\u30fc\u30c9\u306f", *PASSWORD),
    "password, zh": token("\u5bc6\u7801\uff1a", *PASSWORD),
    "password, ru": token("\u041f\u0430\u0440\u043e\u043b\u044c: ", *PASSWORD),
}  # fmt: skip

WORDS = [
    "api_key=YOUR_API_KEY_HERE", "token: <your-token>", "password = getpass.getpass()",
    "PASSWORD=${DB_PASSWORD}", "api_key: ${{ secrets.API_KEY }}", "Authorization: Bearer $TOKEN",
    "password: ********", "DB_PASSWORD_FILE=/run/secrets/db_password_2024", "mysql -u root -p",
    "token = await client.get_token(scope_2024_default)", "curl -u user https://example.org",
    "The password must have 12 characters, 1 digit", "password: see-ticket-12345",
    "My password is: forgotten since 2024-05-01", "La password \u00e8 scaduta il 12/05/2025",
    "Your password expires in 14 days", "has\u0142o to nie problem 2024",
    "\u5bc6\u7801\u662f\u4ec0\u4e48\uff1f 2024", "fc-barcelona vs fc-2024-united",
    "pa-system and pa-2024-report-of-the-committee-on-water", "key_id key_results key_2024",
    "SKU API-20931, A3-poster-2024-final", "rnd_budget_2024_department_overview",
    "The Cookie: a session=of-baking", "a machine of 2024 whose password nobody knows",
]  # fmt: skip
HARMLESS = {
    "words": lambda: RNG.choice(WORDS),
    "container": lambda: token("docker run -d nginx@sha256:", (HEX, 64)),
    "lock file": lambda: token('"integrity": "sha512-', (B64, 86), '=="'),
    "parcel": lambda: token("1Z", (UPPER + DIGITS, 8), (DIGITS, 8)),
    "postal": lambda: token("USPS 9400 1", *[(DIGITS, 4), " "] * 4, (DIGITS, 2)),
    "bitcoin": lambda: token("send to bc1q", (LOWER + DIGITS, 38)),
    "ethereum": lambda: token("0x", (HEX, 40), " holds 2 ETH, tx 0x", (HEX, 64)),
    "sheet": lambda: token("https://docs.google.com/spreadsheets/d/1", (URL, 43), "/edit"),
    "message": lambda: token("https://acme.slack.com/archives/C", (UPPER, 9), "/p", (DIGITS, 16)),
    "channel": lambda: token("https://discord.com/channels/", (DIGITS, 18), "/", (DIGITS, 19)),
    "post": lambda: token("https://x.com/a/status/1", (DIGITS, 18)),
    "sim card": lambda: token("ICCID 8949", (DIGITS, 15)),
    "payment": lambda: token("pi_3", (ALNUM, 23), " cus_", (ALNUM, 14), " price_1", (ALNUM, 23)),
    "public key": lambda: token("pk_live_", (ALNUM, 24), " data-sitekey=6L", (URL, 38)),
    "pod": lambda: token("web-", (HEX, 10), "-", (LOWER, 5), " restarted"),
    "aws": lambda: token("i-0", (HEX, 16), " arn:aws:iam::", (DIGITS, 12), ":role/app"),
    "requests": lambda: token("chatcmpl-", (ALNUM, 29), " msg_", (ALNUM, 24), " req_", (ALNUM, 24)),
    "fingerprint": lambda: token("SHA256:", (B64, 43), ' ETag: W/"', (HEX, 32), '"'),
    "trace": lambda: token("00-", (HEX, 32), "-", (HEX, 16), "-01 x-request-id: ", (HEX, 32)),
    "idempotency": lambda: f"idempotency-key: {some_id()}, in {some_id()}.parquet",
    "account": lambda: token("Konto ", (DIGITS, 10), ", mandate DE98ZZZ", (DIGITS, 11)),
    "reference": lambda: token("Referenz: ", (DIGITS, 16), ", Policennummer ", (DIGITS, 16)),
    "vehicle": lambda: token("VIN WVW", (UPPER + DIGITS, 14), ", meter 1EMH", (DIGITS, 10)),
    "ids": lambda: token("01J", (UPPER + DIGITS, 23), " c", (LOWER + DIGITS, 24)),
    "wheel": lambda: token("numpy-2.1.0-cp311.whl --hash=sha256:", (HEX, 64)),
    "mail": lambda: "\n".join(token((B64, 76)) for _ in range(5)),
    "dump": lambda: " ".join(token((HEX, 4)) for _ in range(64)),
    "voucher": lambda: token(*[(UPPER + DIGITS, 4), "-"] * 2, (UPPER + DIGITS, 4)),
}  # fmt: skip


@pytest.mark.parametrize(
    "setting", ["{}", "It is: {} - keep it.", '{{"value": "{}"}}', "K={}\nO=1"]
)
def test_at_least_95_of_100_tokens_are_found(setting):
    missed = [name for name, each in SECRETS.items() if not SCANNER.find_in(setting.format(each))]
    assert len(missed) <= 0.05 * len(SECRETS), missed


def test_at_most_1_of_100_look_alikes_raises_an_alarm():
    texts = [(name, make()) for name, make in HARMLESS.items() for _ in range(20)]
    alarms = [(name, kind) for name, text in texts if (kind := SCANNER.find_in(text))]
    assert len(alarms) <= 0.01 * len(texts), alarms
