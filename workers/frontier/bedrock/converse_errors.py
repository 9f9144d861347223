"""From boto3's errors to ours. All messages are our own: boto3's may quote the request.

A fault of the whole account or of one model is told apart here, since each shuts a part of the
spillway.
"""

from __future__ import annotations

import re

from botocore import exceptions as boto

from forebay.routing.errors import (
    ForebayError,
    InvalidJob,
    LastingError,
    Misconfigured,
    Throttled,
    TooLong,
    Unavailable,
)
from forebay.routing.store.backoff import asked_wait_s
from forebay.workers.frontier.bedrock.converse_reply import code_word, headers
from forebay.workers.frontier.provider import (
    AccountFault,
    ModelFault,
    ModelNotReady,
    OutcomeUnknown,
)

#: An error class, its message, and the field that the error names.
_Mapped = tuple[type[ForebayError], str, str | None]

_LOG_IN = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or use a role"
_REJECTED = "rejected ({code}): check them, FOREBAY_BEDROCK_REGION and this machine's clock"
_NEEDS_PROFILE = "{model} needs an inference profile: put global., us., eu. and so on before the id"

_BUSY = (Throttled, "Bedrock asks to slow down ({code})", None)
_DOWN = (Unavailable, "Bedrock is unavailable ({code})", None)
_UNKNOWN = (OutcomeUnknown, "Bedrock failed, perhaps after the model had answered ({code})", None)
_BAD_KEY = (AccountFault, _REJECTED, "AWS credentials")
_EXPIRED = (AccountFault, "have expired", "AWS credentials")
_NO_ACCOUNT = (AccountFault, "is not allowed to use Bedrock here ({code})", "AWS account")
_NOT_BEDROCK = (
    AccountFault, "is not Bedrock's runtime ({code}): correct it, or the proxy before it",
    "FOREBAY_BEDROCK_ENDPOINT",
)  # fmt: skip
_NO_TLS = (
    AccountFault,
    "makes no TLS connection that this machine trusts: correct it, or set AWS_CA_BUNDLE",
    "FOREBAY_BEDROCK_ENDPOINT",
)
_NO_RIGHT = (ModelFault, "have no permission to call {model}", "AWS credentials")
_NO_MODEL = (ModelFault, "Bedrock has no {model} in this region", "model")
_CONFLICT = (Unavailable, "Bedrock is still changing what the call is about ({code})", None)
_NO_FORM = (
    ModelFault, "needs the form of its use case, which the AWS console asks for", "{model}",
)  # fmt: skip
_NOT_READY = (ModelNotReady, "{model} is not ready on Bedrock ({code})", None)
_OTHER: _Mapped = (LastingError, "Bedrock rejects the call of {model} ({code})", None)

_BY_CODE: dict[str, _Mapped] = {
    "ModelNotReadyException": _NOT_READY,
    "ServiceQuotaExceededException": _BUSY,
    "TooManyRequestsException": _BUSY,
    "ServiceUnavailableException": _DOWN,
    "InternalServerException": _DOWN,
    "ModelTimeoutException": _UNKNOWN,
    "ModelErrorException": _UNKNOWN,
    "ModelStreamErrorException": _UNKNOWN,
    "ConflictException": _CONFLICT,
    "AccessDeniedException": _NO_RIGHT,
    "UnrecognizedClientException": _BAD_KEY,
    "InvalidClientTokenId": _BAD_KEY,
    "InvalidSignatureException": _BAD_KEY,
    "IncompleteSignatureException": _BAD_KEY,
    "SignatureDoesNotMatch": _BAD_KEY,
    "MissingAuthenticationTokenException": _BAD_KEY,
    "ExpiredTokenException": _EXPIRED,
    "ExpiredToken": _EXPIRED,
    "RequestExpired": _EXPIRED,
    "OptInRequired": _NO_ACCOUNT,
    "SubscriptionRequiredException": _NO_ACCOUNT,
}
#: Codes that name the credentials, the signature or the account: they quote nothing of a job.
_BY_NAME: tuple[tuple[str, _Mapped], ...] = (
    (r"(?i)limit|quota|throttl|toomany", _BUSY),
    (r"(?i)expired|refreshrequired", _EXPIRED),
    (r"(?i)optin|sign(?:ed)?up|subscription|verification|account|payment|region|disabled|blocked",
     _NO_ACCOUNT),
    (r"(?i)token|signature|credential|auth|accesskey|skew|identity|accessdenied", _BAD_KEY),
)  # fmt: skip
_BY_STATUS: dict[int, _Mapped] = {
    301: _NOT_BEDROCK,
    302: _NOT_BEDROCK,
    307: _NOT_BEDROCK,
    308: _NOT_BEDROCK,
    402: _NO_ACCOUNT,
    404: _NOT_BEDROCK,
    405: _NOT_BEDROCK,
    407: _NOT_BEDROCK,
    429: _BUSY,
    500: _DOWN,
    503: _DOWN,
    408: _UNKNOWN,
}
#: The operations of Bedrock that are called.
_OPERATIONS = frozenset(
    {
        "Converse", "ConverseStream", "CountTokens", "CreateModelInvocationJob",
        "GetModelInvocationJob", "ListModelInvocationJobs", "StopModelInvocationJob",
    }
)  # fmt: skip
_FORBIDDEN = {401, 403}
_REJECTION, _SERVER_ERROR = 400, 501

#: Codes without a finer one: the message is searched, in this order. A `ValidationException` may
#: quote names of a job's schema, so only the beginning of its message can tell a fault of the
#: account or of a model: else a job could shut the spillway.
_NOT_HERE = (
    r"^(?:access to )?(?:this|the) model(?: id)? is not (?:available|supported|allowed)\b"
    r".{0,40}\b(?:accounts?|region)\b"
)
_BY_MESSAGE: dict[str, tuple[tuple[str, _Mapped], ...]] = {
    "ValidationException": (
        (r"^(?:operation not allowed|access to (?:amazon )?bedrock)", _NO_ACCOUNT),
        (r"^access to anthropic models", _NO_ACCOUNT),
        (r"^(?:(?:your|this) )?(?:aws )?account\b", _NO_ACCOUNT),
        (_NOT_HERE, _NO_RIGHT),
        (r"^this model\b.*\b(?:end of (?:its )?life|legacy|deprecated|retired)\b", _NO_MODEL),
        (r"^the provided (?:arn|inference profile)\b", _NO_MODEL),
        (r"^invocation\b.*\bon-demand throughput", (ModelFault, _NEEDS_PROFILE, "model")),
        (r"^the provided model identifier is invalid", _NO_MODEL),
        (
            r"^the provided model doesn.t support counting",
            (InvalidJob, "{model} counts no tokens", None),
        ),
        (
            r"schema|output_?config|grammar|enum value|union type|declared type",
            (InvalidJob, "is not supported by structured output", "schema"),
        ),
        (r"stop_?sequence", (InvalidJob, "is not supported by {model}", "stop")),
        (
            r"too long|tokens|context",
            (TooLong, "the prompt or its answer does not fit {model}", None),
        ),
        (r"", (InvalidJob, "Bedrock rejects this request for {model}", None)),
    ),
    "AccessDeniedException": (
        (r"api key|authenticat|bearer|security token", _BAD_KEY),
        (r"account|payment|countr", _NO_ACCOUNT),
        (r"\b(?:legacy|end of (?:its )?life|deprecated|retired)\b", _NO_MODEL),
        (r"", _NO_RIGHT),
    ),
    "ResourceNotFoundException": (
        (r"use case", _NO_FORM),
        (r"operation is not recognized", _NOT_BEDROCK),
        (r"", _NO_MODEL),
    ),
    "ThrottlingException": ((r"^your account is not", _NO_ACCOUNT), (r"", _BUSY)),
}


def _named(*names: str) -> tuple[type[Exception], ...]:
    """Return these exceptions of botocore, as far as the installed release has them."""
    return tuple(getattr(boto, name) for name in names if hasattr(boto, name))


_BY_TYPE: tuple[tuple[tuple[type[Exception], ...], _Mapped], ...] = (
    (
        (boto.NoCredentialsError, boto.PartialCredentialsError, boto.NoAuthTokenError),
        (AccountFault, f"missing or incomplete: {_LOG_IN}", "AWS credentials"),
    ),
    (
        (boto.SSOError, boto.UnauthorizedSSOTokenError, boto.TokenRetrievalError),
        (AccountFault, "the login has expired: run aws sso login", "AWS credentials"),
    ),
    (
        _named("LoginError", "LoginRefreshRequired", "RefreshWithMFAUnsupportedError"),
        (AccountFault, "the login has expired: run aws login", "AWS credentials"),
    ),
    (
        (boto.CredentialRetrievalError, boto.MetadataRetrievalError),
        (AccountFault, "cannot be fetched ({code})", "AWS credentials"),
    ),
    ((boto.ProfileNotFound,), (AccountFault, "names no configured profile", "AWS_PROFILE")),
    (
        (boto.NoRegionError, boto.InvalidRegionError),
        (AccountFault, "is not an AWS region", "FOREBAY_BEDROCK_REGION"),
    ),
    (
        (boto.InvalidEndpointConfigurationError,),
        (AccountFault, "cannot be used with these credentials", "FOREBAY_BEDROCK_ENDPOINT"),
    ),
    ((boto.ParamValidationError,), (Misconfigured, "boto3 cannot make a call of {model}", "model")),
    (
        (boto.ProxyConnectionError,),
        (Unavailable, "no connection to Bedrock through the proxy: check HTTPS_PROXY", None),
    ),
    (
        (boto.EndpointConnectionError, boto.ConnectTimeoutError),
        (Unavailable, "no connection to Bedrock in this region, or at this endpoint", None),
    ),
    (
        _named(
            "ConfigNotFound", "ConfigParseError", "EndpointProviderError",
            "InfiniteLoopConfigError", "InvalidConfigError", "InvalidIMDSEndpointError",
            "InvalidProxiesConfigError",
            "InvalidRetryConfigurationError", "InvalidRetryModeError", "MissingDependencyException",
            "ServiceNotInRegionError", "UnknownCredentialError", "UnknownEndpointError",
            "UnknownRegionError", "UnknownServiceError", "UnknownSignatureVersionError",
            "UnknownTokenProviderError", "UnsupportedSignatureVersionError",
        ),
        (AccountFault, "boto3 cannot use its settings ({code})", "AWS"),
    ),
)  # fmt: skip
#: What OpenSSL says of a connection over which nothing can be sent.
_HANDSHAKE = re.compile(
    r"certificate|hostname|handshake|wrong.version|unsupported.protocol|unknown.ca|record.layer",
    re.IGNORECASE,
)


def from_response(error: boto.ClientError, model: str) -> ForebayError:
    """Return our error for an error response of Bedrock, or of the service that lends the keys."""
    details = error.response.get("Error", {})
    code, text = str(details.get("Code", "")), str(details.get("Message", "")).casefold()
    if error.operation_name not in _OPERATIONS:  # such as AssumeRole of STS
        return _error((AccountFault, "cannot be fetched ({code})", "AWS credentials"), model, code)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    ours = _error(_mapped(code, text, status), model, code)
    if isinstance(ours, Throttled | Unavailable):
        ours.retry_after = _retry_after(headers(error.response))
    return ours


def _mapped(code: str, text: str, status: int) -> _Mapped:
    by_message = (entry for words, entry in _BY_MESSAGE.get(code, ()) if re.search(words, text))
    known = next(by_message, None) or _BY_CODE.get(code) or _BY_STATUS.get(status)
    if known is not None:
        return known
    if _REJECTION <= status < _SERVER_ERROR:
        by_name = (mapped for words, mapped in _BY_NAME if re.search(words, code))
        if found := next(by_name, None):
            return found
    if status in _FORBIDDEN and code[:1].isalpha():  # AWS names a code, a proxy's block page none
        return _BAD_KEY
    return _OTHER if _REJECTION <= status < _SERVER_ERROR else _UNKNOWN


def from_stream(code: str, text: str, model: str) -> ForebayError:
    """Return our error for an error inside a stream, whose code begins with a small letter."""
    code = code[:1].upper() + code[1:]
    return _error(_mapped(code, text.casefold(), 0), model, code)


def from_setup(error: Exception, model: str) -> ForebayError:
    """Return our error for a client that boto3 could not make: nothing was sent."""
    known = _by_type(error, model)
    if known is not None:
        return known
    if isinstance(error, ValueError) and not isinstance(error, boto.BotoCoreError):
        return AccountFault("is not a URL", field="FOREBAY_BEDROCK_ENDPOINT")
    return AccountFault(f"boto3 cannot use its settings ({type(error).__name__})", field="AWS")


def without_response(error: Exception, model: str) -> ForebayError:
    """Return our error for a call without a readable response; only an unsent call is free."""
    unknown = OutcomeUnknown(f"Bedrock's response cannot be read ({type(error).__name__})")
    return _by_type(error, model) or unknown


def _by_type(error: Exception, model: str) -> ForebayError | None:
    if isinstance(error, boto.SSLError) and _HANDSHAKE.search(str(error)):
        return _error(_NO_TLS, model, "")
    for types, mapped in _BY_TYPE:
        if isinstance(error, types):
            return _error(mapped, model, type(error).__name__)
    return None


def _error(mapped: _Mapped, model: str, code: str) -> ForebayError:
    error_class, text, at = mapped
    field = at and at.format(model=model)
    return error_class(text.format(model=model, code=code_word(code)), field=field)


def _retry_after(headers: dict[str, str]) -> float | None:
    """Return the seconds that Bedrock asks to wait, if it does."""
    millis = headers.get("x-amz-retry-after", "")
    if millis.isdecimal():
        return asked_wait_s(str(int(millis) / 1_000))
    return asked_wait_s(headers.get("retry-after", ""))
