"""The engine for a server that runs already: its model answers, Forebay keeps the contract.

What other engines enforce by themselves, this one asks of the server and checks afterwards: a
constrained answer that does not keep to its format is refused, never passed on.
"""

from __future__ import annotations

from forebay.routing.errors import EngineBusy, Misconfigured, Unavailable
from forebay.workers.engines.batching.embedding import SentenceEncoder
from forebay.workers.engines.batching.loop import BatchedEngine
from forebay.workers.engines.engine import EngineInfo, Vectors
from forebay.workers.engines.openai.address import server_address
from forebay.workers.engines.openai.client import ServerClient
from forebay.workers.engines.openai.connection import Connection
from forebay.workers.engines.openai.generator import Formats, OpenAIGenerator
from forebay.workers.engines.openai.served import Served, chosen_model, served
from forebay.workers.engines.settings import EngineSettings

_KEY_FILE = "FOREBAY_OPENAI_KEY_FILE"
_MAX_KEY_CHARS = 4_096


class OpenAIEngine(BatchedEngine):
    """The model of a server, and the packaged sentence encoder if it is installed.

    Raises:
        Misconfigured: The address is not allowed, the key is refused, or the server has no such
            model or API.
        Unavailable: The server cannot be reached, or a package is missing.
    """

    def __init__(self, settings: EngineSettings) -> None:
        client = _client(settings, settings.slots)
        self._encoder: SentenceEncoder | None = None
        try:
            self._encoder = SentenceEncoder()
        except Unavailable as error:
            self._no_encoder = error.message
        connection = Connection(client)
        try:
            found = connection.ask(served(connection.client, settings.openai_model))
        except EngineBusy as error:
            connection.close()
            raise Unavailable(error.message, field="FOREBAY_OPENAI_URL") from None
        except BaseException:
            connection.close()
            raise
        context = found.context_tokens or settings.context_tokens
        self._info = self._described(found, context, settings.slots)
        formats = Formats(found)
        super().__init__(
            OpenAIGenerator(found, settings.slots, context, formats, connection),
            preparer=formats,
            reserved=settings.reserved,
        )

    def info(self) -> EngineInfo:
        """See `Engine.info`."""
        return self._info

    def embed(self, texts: list[str]) -> Vectors:
        """See `Engine.embed`."""
        if self._encoder is None:
            raise Unavailable(self._no_encoder)
        return self._encoder.encode(texts, self._count_step)

    def _described(self, found: Served, context: int, slots: int) -> EngineInfo:
        scores = found.form is not None and found.top_logprobs > 0
        return EngineInfo(
            engine="openai",
            model=found.model,
            revision=found.revision,
            context_tokens=context,
            slots=slots,
            embed_model=self._encoder and self._encoder.model,
            embed_revision=self._encoder and self._encoder.revision,
            classify="model" if scores or self._encoder is None else "similarity",
            logprobs=found.logprobs,
        )


def model_of_server(settings: EngineSettings) -> str:
    """Return the model that the engine would ask the server for.

    Raises:
        Misconfigured, Unavailable: See `OpenAIEngine`.
    """
    connection = Connection(_client(settings, 1))
    try:
        entry = connection.ask(chosen_model(connection.client, settings.openai_model))
    finally:
        connection.close()
    return str(entry["id"])


def _client(settings: EngineSettings, connections: int) -> ServerClient:
    """Return a client of the server; `connections` is how many may be open at once.

    If the server is silent as a whole, the watchdog notices that first, after half the time.

    Raises:
        Misconfigured: The address is not allowed, or the key cannot be read.
    """
    address = server_address(settings.openai_url, public=settings.openai_public)
    return ServerClient(address, _headers(settings), connections, quiet_s=2 * settings.hang_s)


def _headers(settings: EngineSettings) -> dict[str, str]:
    """Return the headers that each request carries.

    Raises:
        Misconfigured: The key cannot be read, or is no key; or there are two.
    """
    secret = settings.openai_key
    key = None if secret is None else secret.get_secret_value()
    if (file := settings.openai_key_file) is not None:
        if key is not None:
            raise Misconfigured("is set beside FOREBAY_OPENAI_KEY", field=_KEY_FILE)
        try:
            key = file.expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise Misconfigured(f"{file} cannot be read", field=_KEY_FILE) from None
    if key is None:
        return {}
    if not (key.isascii() and key.isprintable()) or not 0 < len(key) <= _MAX_KEY_CHARS:
        raise Misconfigured("must hold one line of printable ASCII", field=_KEY_FILE)
    return {"authorization": f"Bearer {key}"}
