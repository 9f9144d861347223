"""Patterns of secrets by kind: keys and tokens that name their issuer in a fixed part.

Each pattern looks at a fixed number of characters at most, so the time grows no faster than the
text. Its marker, a text that every match contains, is looked for first: that is much faster.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple


class SecretPattern(NamedTuple):
    """The pattern of one kind of secret.

    Attributes:
        kind: the kind of the secret, as a reason of a job names it.
        marker: a text that every match contains.
        pattern: a regular expression; no letter or digit may stand before a match.
    """

    kind: str
    marker: str
    pattern: str

    def detector(self) -> Callable[[str], bool]:
        """Return a function that says whether a text contains such a secret."""
        search = re.compile(rf"(?<![A-Za-z0-9])(?:{self.pattern})").search
        return lambda text: self.marker in text and search(text) is not None


_NAMED = r"(?i:(?:api|auth|access|secret|client|session)[_-]?(?:key|token|secret)[\"']?)"
_WITH_DIGIT_AND_LETTER = r"(?=[A-Za-z_-]{0,30}\d)(?=[\d_-]{0,40}[A-Za-z])"
_MIXED = r"(?=[^\s\d]{0,30}\d)(?=[^\sA-Za-z]{0,30}[A-Za-z])"  # has a digit and a letter
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?![0-9a-f])"
_ENDING = r"(?:TOKEN|SECRET|PASSWORD|PASSWD|PASS|_KEY|APIKEY)"
_CALLED = (
    r"(?i:passwo?r?d|passwort|kennwort|passphrase|mot\sde\spasse|contrase\u00f1a|senha|wachtwoord"
    r"|has\u0142o|l\u00f6senord|adgangskode|\u015fifre|\u043f\u0430\u0440\u043e\u043b\u044c"
    r"|\u30d1\u30b9\u30ef\u30fc\u30c9|\u5bc6\u7801|\u5bc6\u78bc|\ube44\ubc00\ubc88\ud638)"
)
_IS = (
    r"(?:\s?[:=\uff1a]\s{0,3}|\s(?:is|ist|lautet|est|es|\u00e9|\u00e8|to|\u00e4r|er)\s?:?\s{1,3}"
    r"|\u306f\s?|\u662f\s?|\ub294\s?)"
)
#: What follows a password's name but is none.
_NOT_ELSEWHERE = r"(?!(?i:see|siehe|voir|vedi|ver|zie)\b)"
PATTERNS = tuple(
    SecretPattern(*row)
    for row in (
        # Keys and passwords of any issuer
        ("private_key", "PRIVATE KEY", r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY"),
        ("private_key", "PuTTY-User-Key-File-", r"PuTTY-User-Key-File-\d"),
        ("age_key", "AGE-SECRET-KEY-", r"AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Z]{50}"),
        ("json_web_token", ".eyJ", r"eyJ[\w-]{10,4000}\.eyJ[\w-]{10}"),
        ("basic_auth_credentials", "://:", r"[a-z]{3,10}://:[^\s:@/]{6,200}@"),
        # Clouds
        ("aws_secret_key", "", r"(?i:aws.{0,20}secret.{0,20}?)[\s=:\"'][\w/+]{40}(?![\w/+])"),
        ("aws_secret_key", "", r"(?i:secret_?access_?key)[\s=:\"']{1,6}[\w/+]{40}(?![\w/+])"),
        ("bedrock_api_key", "ABSK", r"ABSK[A-Za-z0-9+/]{60}"),
        ("bedrock_api_key", "bedrock-api-key-", r"bedrock-api-key-[A-Za-z0-9+/=]{40}"),
        ("azure_storage_account_access_key", "", r"(?i:account_?key)[\s=:\"']{1,6}[\w+/]{86}"),
        ("azure_shared_access_key", "SharedAccessKey", r"SharedAccessKey=[\w+/]{43}="),
        (
            "azure_shared_access_signature",
            "sig=",
            r"sig=(?:[\w-]|%2[BbFf]){43}(?:=|%3[Dd])",
        ),
        ("azure_client_secret", "Q~", r"[\w.~-]{3}\dQ~[\w.~-]{31}"),
        ("azure_api_key", "JQQJ99", r"[A-Za-z0-9]{20,60}JQQJ99[A-Za-z0-9]{20}"),
        ("azure_devops_token", "AZDO", r"[A-Za-z0-9]{70,80}AZDO[A-Za-z0-9]{4}"),
        ("google_api_key", "AIza", r"AIza[\w-]{35}"),
        ("google_oauth_token", "ya29.", r"ya29\.[\w-]{50}"),
        ("google_client_secret", "GOCSPX-", r"GOCSPX-[\w-]{28}"),
        ("google_service_account", "private_key_id", r"private_key_id[\s=:\"'\\]{1,8}[0-9a-f]{40}"),
        ("digitalocean_token", "_v1_", r"do[opr]_v1_[0-9a-f]{40}"),
        ("alibaba_key", "LTAI", r"LTAI[A-Za-z0-9]{20}(?![A-Za-z0-9])"),
        ("fly_token", "fm", r"FlyV1 fm\d[\w+/=-]{40}"),
        ("heroku_key", "HRKU-", r"HRKU-[\w-]{36}"),
        ("netlify_token", "nfp_", r"nfp_[A-Za-z0-9]{36}"),
        ("supabase_key", "sb", r"(?:sbp_[0-9a-f]{40}|sb_secret_[\w-]{22})"),
        ("planetscale_token", "pscale_", r"pscale_(?:tkn|pw|oauth)_[\w.=-]{32}"),
        ("databricks_token", "dapi", r"dapi[0-9a-f]{32}(?![0-9a-f])"),
        ("tailscale_key", "tskey-", r"tskey-[a-z]{3,10}-[A-Za-z0-9]{8,20}-[A-Za-z0-9]{20}"),
        ("neon_key", "napi_", r"napi_[a-z0-9]{40}"),
        ("cloudflare_key", "v1.0-", r"v1\.0-[0-9a-f]{24}-[0-9a-f]{100}"),
        ("tencent_key", "AKID", r"AKID[A-Za-z0-9]{32}(?![A-Za-z0-9])"),
        ("yandex_key", "AQVN", r"AQVN[\w-]{35}"),
        ("gcp_hmac_key", "GOOG", r"GOOG(?:1E)?[A-Z0-9]{20,57}(?![A-Z0-9])"),
        ("vercel_token", "vc", r"vc[pikra]_[A-Za-z0-9]{24}"),
        ("render_key", "rnd_", rf"rnd_{_MIXED}[A-Za-z0-9]{{28}}(?!\w)"),
        ("runpod_key", "rpa_", r"rpa_[A-Z0-9]{36}"),
        ("modal_token", "-", rf"a[ks]-{_MIXED}[A-Za-z0-9]{{22}}(?![\w-])"),
        ("cloudflare_token", "cf", r"cf(?:ut|at|k)_[A-Za-z0-9]{40}"),
        ("openshift_token", "sha256~", r"sha256~[\w-]{43}"),
        ("mongodb_secret", "mdb_sa_sk_", r"mdb_sa_sk_[\w-]{40}"),
        ("clickhouse_key", "4b1d", rf"4b1d{_MIXED}[A-Za-z0-9]{{38}}(?!\w)"),
        ("scalingo_token", "tk-us-", r"tk-us-[\w-]{48}"),
        ("okta_token", "SSWS", r"SSWS\s{1,3}00[\w-]{40}(?![\w-])"),
        # Where secrets are kept
        ("vault_token", "hv", r"hv[sbr]\.[\w-]{24}"),
        (
            "vault_token",
            "s.",
            r"s\.(?=[a-z0-9]{0,23}[A-Z])(?=[A-Za-z]{0,23}\d)[A-Za-z0-9]{24}(?!\w)",
        ),
        ("doppler_token", "dp.", r"dp\.(?:pt|st|ct|sa|scim|audit)\.[\w.-]{40}"),
        ("onepassword_token", "ops_eyJ", r"ops_eyJ[\w-]{60}"),
        ("terraform_token", ".atlasv1.", r"[A-Za-z0-9]{14}\.atlasv1\.[\w-]{60}"),
        ("pulumi_token", "pul-", r"pul-[0-9a-f]{40}"),
        ("infracost_key", "ico-", r"ico-[A-Za-z0-9]{32}(?![\w-])"),
        (
            "onepassword_secret_key",
            "A3-",
            r"A3-[A-Z0-9]{6}-(?:[A-Z0-9]{11}|[A-Z0-9]{6}-[A-Z0-9]{5})(?:-[A-Z0-9]{5}){3}",
        ),
        # Models
        ("anthropic_key", "sk-ant-", r"sk-ant-[\w-]{20}"),
        ("openrouter_key", "sk-or-", r"sk-or-(?:v\d-)?[0-9a-f]{40}"),
        ("openai_key", "T3BlbkFJ", r"(?:sk-)?[\w-]{20,200}T3BlbkFJ[\w-]{20}"),
        ("openai_key", "sk-", r"sk-(?:proj|svcacct|admin|None)-[\w-]{40}"),
        ("openai_key", "sk-", r"sk-(?=[A-Za-z]{0,31}\d)[A-Za-z0-9]{32}"),
        ("groq_key", "gsk_", r"gsk_[A-Za-z0-9]{40}"),
        ("perplexity_key", "pplx-", r"pplx-[A-Za-z0-9]{40}"),
        ("hugging_face_token", "hf_", r"hf_[A-Za-z0-9]{34}"),
        ("hugging_face_token", "api_org_", r"api_org_[A-Za-z]{34}"),
        ("xai_key", "xai-", r"xai-[A-Za-z0-9]{60}"),
        ("cerebras_key", "csk-", r"csk-[a-z0-9]{40}"),
        ("nvidia_key", "nvapi-", r"nvapi-[\w-]{60}"),
        ("replicate_token", "r8_", r"r8_[A-Za-z0-9]{37}"),
        ("together_key", "tgp_v1_", r"tgp_v1_[\w-]{40}"),
        ("tavily_key", "tvly-", r"tvly-[A-Za-z0-9-]{32}"),
        ("langsmith_key", "lsv2_", r"lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}"),
        ("pinecone_key", "pcsk_", r"pcsk_\w{40}"),
        ("fireworks_key", "fw_", r"fw_[A-Za-z0-9]{22,24}(?!\w)"),
        ("elevenlabs_key", "sk_", r"sk_[0-9a-f]{48}(?![0-9a-f])"),
        ("jina_key", "jina_", r"jina_[\w-]{60}"),
        ("voyage_key", "pa-", rf"pa-{_MIXED}[\w-]{{43}}(?![\w-])"),
        ("langfuse_key", "sk-lf-", rf"sk-lf-{_UUID}"),
        ("helicone_key", "sk-helicone-", r"sk-helicone-[\w-]{20}"),
        ("firecrawl_key", "fc-", r"fc-[0-9a-f]{32}(?![0-9a-f])"),
        ("wandb_key", "wandb_v1_", r"wandb_v1_[\w-]{40}"),
        ("cursor_key", "key_", r"key_[0-9a-f]{64}(?![0-9a-f])"),
        # Code and packages
        ("buildkite_token", "bkua_", r"bkua_[0-9a-f]{40}"),
        ("circleci_token", "CCIP", r"CCIP(?:AT|RJ)_[A-Za-z0-9]{22}_[0-9a-f]{40}"),
        ("crates_token", "cio", rf"cio{_MIXED}[A-Za-z0-9]{{32}}(?!\w)"),
        ("sonar_token", "sq", r"sq[upa]_[0-9a-f]{40}"),
        ("prefect_key", "pn", r"pn[ub]_[A-Za-z0-9]{36}"),
        ("harness_token", "at.", r"[ps]at\.[\w-]{22}\.[0-9a-f]{24}\.[A-Za-z0-9]{20}"),
        ("launchdarkly_key", "sdk-", rf"sdk-{_UUID}"),
        ("readme_key", "rdme_", r"rdme_[a-z0-9]{70}"),
        ("sourcegraph_token", "sgp_", r"sgp_(?:(?:[0-9a-f]{16}|local)_)?[0-9a-f]{40}"),
        ("snyk_token", "snyk_", r"snyk_(?:uat|sat)\.[0-9a-f]{8}\.[\w.-]{40}"),
        ("nuget_key", "oy2", rf"oy2{_MIXED}[a-z0-9]{{43}}(?![a-z0-9])"),
        ("clojars_token", "CLOJARS_", r"CLOJARS_[0-9a-f]{60}"),
        ("octopus_key", "API-", rf"API-{_MIXED}[A-Z0-9]{{26,32}}(?![A-Z0-9])"),
        ("jfrog_token", "cmVmdGtu", r"cmVmdGtu[A-Za-z0-9]{50}"),
        ("gitlab_session", "_gitlab_session", r"_gitlab_session=[0-9a-f]{32}"),
        ("axiom_token", "xa", rf"xa[ap]t-{_UUID}"),
        ("honeycomb_key", "hc", r"hc[abx][a-z]k_[a-z0-9]{58}"),
        ("github_token", "github_pat_", r"github_pat_\w{22}"),
        ("gitlab_token", "gl", r"gl(?:pat|dt|ptt|rt|soat|cbt|ft|imt|oas|agent|ffct)-[\w.-]{20}"),
        ("gitlab_token", "GR1348941", r"GR1348941[\w-]{20}"),
        ("bitbucket_token", "ATBB", r"ATBB[A-Za-z0-9]{32}(?![A-Za-z0-9])"),
        ("atlassian_token", "AT", r"AT(?:A|S)TT3[\w=-]{60}"),
        ("npm_token", "npm_", r"npm_[A-Za-z0-9]{36}"),
        ("npm_token", "_authToken", r"_authToken[\s=:\"']{1,6}[\w-]{36}"),
        ("pypi_token", "pypi-AgE", r"pypi-AgE[\w-]{50}"),
        ("rubygems_key", "rubygems_", r"rubygems_[0-9a-f]{48}"),
        ("docker_token", "dckr_", r"dckr_[a-z]{3}_[\w-]{27}"),
        ("artifactory_key", "AKCp", r"AKCp[A-Za-z0-9]{60}"),
        ("postman_key", "PMAK-", r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}"),
        ("grafana_token", "gl", r"(?:glsa_\w{32}_[0-9a-f]{8}|glc_[\w+/=]{40})"),
        ("sentry_token", "sntry", r"sntry[su]_[\w+/=]{40}"),
        ("new_relic_key", "NRAK-", r"NRAK-[A-Z0-9]{27}"),
        ("dynatrace_token", "dt0c01.", r"dt0c01\.[A-Z0-9]{24}\.[A-Z0-9]{60}"),
        # Messages and mail
        ("slack_token", "xox", r"xox[a-z](?:\.xox[a-z])?-[\w%-]{10,40}[\w%]{10}"),
        ("slack_token", "xapp-", r"xapp-\d-[A-Z0-9]{8,20}-\d{8,20}-[0-9a-f]{20}"),
        ("slack_webhook", "hooks.slack.com", r"hooks\.slack\.com/(?:services|workflows)/[\w/]{20}"),
        (
            "discord_webhook",
            "/api/webhooks/",
            r"com/api/webhooks/\d{15,20}/[\w-]{60}",
        ),
        ("teams_webhook", "webhook", r"(?:office|azure)\.com/webhookb?2?/[\w@/-]{60}"),
        ("zapier_webhook", "hooks.zapier.com", r"hooks\.zapier\.com/hooks/catch/\d{4,12}/\w{5}"),
        ("resend_key", "re_", rf"re_{_MIXED}[A-Za-z0-9]{{6,10}}_[A-Za-z0-9]{{20}}"),
        ("telegram_bot_token", ":", r"\d{8,10}:[\w-]{35}(?![\w-])"),
        ("twilio_api_key", "", r"(?:AC|SK)[0-9a-f]{32}(?![A-Za-z0-9])"),
        ("brevo_key", "xkeysib-", r"xkeysib-[0-9a-f]{64}"),
        ("mailgun_key", "key-", r"key-[0-9a-f]{32}(?![0-9a-f])"),
        ("mailersend_token", "mlsn.", r"mlsn\.[0-9a-f]{64}"),
        ("klaviyo_key", "pk_", r"pk_[0-9a-f]{34}(?![0-9a-f])"),
        ("pagerduty_token", "pd", r"pd[a-z]{2}\+_[A-Z0-9]{7,8}_[A-Za-z0-9-]{36}"),
        ("facebook_token", "EAA", rf"EAA{_MIXED}[A-Za-z0-9]{{80}}"),
        ("x_bearer_token", "AAAAAAAAAAAAAAAAAAAA", r"A{20}[A-Za-z0-9%]{60}"),
        ("pinterest_token", "pina_", r"pina_[A-Za-z0-9]{60}"),
        ("firebase_key", ":APA91b", r"AAAA[\w-]{7}:APA91b[\w-]{100}"),
        ("posthog_key", "phx_", r"phx_[A-Za-z0-9]{40}"),
        # Shops and payments
        ("shopify_token", "shp", r"shp(?:at|ca|pa|ss|tka)_[0-9a-fA-F]{32}"),
        ("stripe_access_key", "k_", r"[rs]k_(?:live|test|org)_[A-Za-z0-9]{24}"),
        ("stripe_webhook_secret", "whsec_", r"whsec_[A-Za-z0-9+/]{32}"),
        ("square_token", "sq0", r"sq0(?:atp|csp)-[\w-]{22}"),
        ("square_token", "EAAA", r"EAAA[\w-]{60}(?![\w+/-])"),
        (
            "paypal_token",
            "access_token$",
            r"access_token\$[a-z]{3,20}\$\w{16}\$[0-9a-f]{32}",
        ),
        ("plaid_token", "access-", rf"access-(?:production|development|sandbox)-{_UUID}"),
        ("easypost_key", "EZ", r"EZ[AT]K[A-Za-z0-9]{54}"),
        ("flutterwave_key", "FLWSECK", r"FLWSECK(?:_TEST)?-[0-9a-zA-Z]{12,40}-X"),
        ("duffel_token", "duffel_", r"duffel_(?:live|test)_[\w-]{43}"),
        ("shippo_token", "shippo_", r"shippo_(?:live|test)_[0-9a-f]{40}"),
        ("lob_key", "live_", r"live_[0-9a-f]{35}(?![0-9a-f])"),
        # Work
        ("asana_token", ":", r"[12]/\d{16}(?:/\d{16})?:[0-9a-f]{32}"),
        ("hubspot_token", "pat-", rf"pat-(?:na|eu|ap)\d-{_UUID}"),
        ("zoho_token", "1000.", r"1000\.[0-9a-f]{32}\.[0-9a-f]{32}"),
        ("rapidapi_key", "msh", r"[0-9a-z]{10}msh[0-9a-z]{12,18}p1[0-9a-z]{6}jsn[0-9a-z]{12}"),
        ("zuplo_key", "zpka_", r"zpka_[a-z0-9]{32}_[0-9a-f]{8}"),
        ("maxmind_key", "_mmk", r"[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk(?!\w)"),
        ("intra42_secret", "s-s4t2", r"s-s4t2(?:ud|af)-[0-9a-f]{64}"),
        ("defined_key", "dnkey-", r"dnkey-[A-Za-z0-9]{26}-[A-Za-z0-9]{52}"),
        ("contentful_token", "CFPAT-", r"CFPAT-[\w-]{43}"),
        ("typeform_token", "tfp_", r"tfp_[\w-]{55}"),
        ("frameio_token", "fio-u-", r"fio-u-[\w-]{60}"),
        ("adafruit_key", "aio_", r"aio_[A-Za-z0-9]{28}"),
        ("mapbox_token", ".eyJ", r"[st]k\.eyJ[\w-]{40,200}\.[\w-]{20}"),
        ("linear_key", "lin_", r"lin_(?:api|oauth|wh)_[A-Za-z0-9]{32}"),
        ("notion_token", "ntn_", r"ntn_[A-Za-z0-9]{40}"),
        ("notion_token", "secret_", r"secret_[A-Za-z0-9]{43}(?![A-Za-z0-9])"),
        ("figma_token", "figd_", r"figd_[\w-]{40}"),
        ("airtable_token", "pat", r"pat[A-Za-z0-9]{14}\.[0-9a-f]{64}"),
        # Whatever a text calls a key; last, since the others say what it is
        (
            "authorization",
            "",
            r"(?i:authorization)[\"']?\s?[:=]\s?[\"']?(?i:bearer|basic|token)\s{1,3}[\w+/=.~-]{16}",
        ),
        ("named_secret", "=", rf"\w{{0,40}}{_ENDING}\s?=\s?[\"']?{_MIXED}[A-Za-z0-9+/=.~]{{20}}"),
        ("password", "", rf"{_CALLED}[\"']?{_IS}[\"']?{_NOT_ELSEWHERE}{_MIXED}[^\s\"'<>]{{8}}"),
        ("password", "password", rf"machine\s\S{{1,80}}\s.{{0,80}}password\s{_MIXED}\S{{8}}"),
        ("password", "-u", rf"curl\s.{{0,80}}?-u\s?[\"']?[\w.@-]{{1,40}}:{_MIXED}[^\s\"']{{8}}"),
        ("password", "-p", rf"mysql\w{{0,10}}\s.{{0,80}}?-p{_MIXED}[^\s\"']{{8}}"),
        ("docker_auth", "auth", r"auths?\"\s?:\s?\"[A-Za-z0-9+/]{20,400}={0,2}\""),
        ("kubernetes_key", "client-key-data", r"client-key-data:\s?[A-Za-z0-9+/]{60}"),
        ("kubernetes_token", "--token", r"kubeadm\s.{0,60}?--token\s[a-z0-9]{6}\.[a-z0-9]{16}"),
        ("rails_secret", "secret_key_base", r"secret_key_base[\"']?\s?[:=]\s?[\"']?[0-9a-f]{64}"),
        ("wireguard_key", "Key", r"(?:Private|Preshared)Key\s?=\s?[A-Za-z0-9+/]{43}="),
        ("one_time_password", "otpauth://", r"otpauth://.{0,120}?secret=[A-Z2-7]{16}"),
        (
            "session_cookie",
            "ookie:",
            r"[Cc]ookie:\s.{0,80}?(?i:sess\w{0,12}|sid|token)=[\w.%-]{20}",
        ),
        (
            "named_secret",
            "ubscription-",
            r"(?i:subscription-key)[\"']?\s?[:=]\s?[\"']?[0-9a-f]{32}",
        ),
        ("named_secret", "", rf"{_NAMED}\s?[:=]\s?[\"']?{_WITH_DIGIT_AND_LETTER}[\w+/=.-]{{24}}"),
    )
)
