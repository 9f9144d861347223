"""The table of engines: the name of each, where its class is, and what it needs.

A new engine is a folder, a name in `EngineName` and an entry in
`ENGINES`; CONTRIBUTING.md has all steps. The engine's process opens engines by this
table, `forebay doctor` examines them by it, and the conformance suite runs over every entry.
Classes are named by strings, so that a process imports the libraries of its own engine alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

EngineName = Literal["llamacpp", "exl2", "exl3", "openai", "echo"]


@dataclass(frozen=True)
class EngineEntry:
    """One engine of the table.

    Attributes:
        target: `module:class` of an `Engine` that is made from `EngineSettings` alone.
        model: what the engine loads: a GGUF file (`FOREBAY_MODEL_FILE`), a model's folder
            (`FOREBAY_MODEL_DIR`), what a server has loaded (`FOREBAY_OPENAI_URL`), or `None` for no
            model.
        library: the module that must be importable, or `None` if the engine is part of Forebay.
        install: how to install the library.
        needs_gpu: the engine runs on an NVIDIA GPU only.
    """

    target: str
    model: Literal["file", "folder", "server"] | None = None
    library: str | None = None
    install: str = ""
    needs_gpu: bool = False


ENGINES: Mapping[EngineName, EngineEntry] = {
    "llamacpp": EngineEntry(
        "forebay.workers.engines.llamacpp.llamacpp:LlamaEngine",
        model="file",
        library="xllamacpp",
        install="install the extra `cpu`",
    ),
    "exl2": EngineEntry(
        "forebay.workers.engines.exllama.exl2:Exl2Engine",
        model="folder",
        library="exllamav2",
        install="install the extra `gpu`, then run `forebay gpu build`",
        needs_gpu=True,
    ),
    "exl3": EngineEntry(
        "forebay.workers.engines.exllama.exl3:Exl3Engine",
        model="folder",
        library="exllamav3",
        install="install the extra `gpu` and exllamav3, and run `forebay gpu build --exllamav3`",
        needs_gpu=True,
    ),
    "openai": EngineEntry("forebay.workers.engines.openai.openai:OpenAIEngine", model="server"),
    "echo": EngineEntry("forebay.workers.engines.batching.echo:EchoEngine"),
}
