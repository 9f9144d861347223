"""An OpenAI-compatible server over the packaged model: llama.cpp's own, in a process of its own."""

from __future__ import annotations

import atexit
import functools
import subprocess
import sys
from contextlib import ExitStack, contextmanager

PROGRAM = """
import sys
import xllamacpp
from forebay.workers.engines.llamacpp.gguf import packaged_gguf
params = xllamacpp.CommonParams()
params.model.path = str(packaged_gguf())
params.hostnames, params.port = ["127.0.0.1"], 0
params.n_parallel, params.n_ctx = int(sys.argv[2]), int(sys.argv[1]) * int(sys.argv[2])
params.n_batch = params.n_ubatch = 256
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.cache_ram_mib, params.verbosity = 64, -1
params.fit_params = params.ui = False
params.enable_reasoning = 0
if len(sys.argv) > 3:
    params.api_keys = [sys.argv[3]]
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@contextmanager
def model_server(context, slots, key=None):
    """Run the server; give its base URL."""
    arguments = [str(context), str(slots), *filter(None, [key])]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        yield f"{process.stdout.readline().strip()}/v1"
        process.stdin.close()
        process.wait(20)


@functools.cache
def shared_server(context, slots):
    """Return the base URL of a server that runs until the tests end."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(model_server(context, slots))
