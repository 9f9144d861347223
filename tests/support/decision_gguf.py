"""Makes a decision model in GGUF: the packaged language model with the metadata of one.

llama.cpp then reads its answers from the options' first tokens, in one pass. What it decides is
worth little; how it is asked and answers is the same as of any decision model.
"""

from __future__ import annotations

import struct

from forebay.workers.engines.llamacpp.gguf import packaged_gguf

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9
_ALIGNMENT = 32
FIELDS = {
    "llama.decision.type": "openjev",
    "tokenizer.chat_template.systemone": "{{ state }} {{ question }}",
}


def make_decision_model(path):
    """Write the model to this path, and return the path."""
    with packaged_gguf().open("rb") as file:
        magic, version, tensors, keys = struct.unpack("<4sIQQ", file.read(24))
        for _ in range(keys):
            _skip_string(file)
            _skip_value(file, *struct.unpack("<I", file.read(4)))
        end_of_keys = file.tell()
        for _ in range(tensors):
            _skip_string(file)
            [dimensions] = struct.unpack("<I", file.read(4))
            file.seek(8 * dimensions + 4 + 8, 1)
        end = file.tell()
        file.seek(24)
        known, described = file.read(end_of_keys - 24), file.read(end - end_of_keys)
        file.seek(end + -end % _ALIGNMENT)
        weights = file.read()
    head = struct.pack("<4sIQQ", magic, version, tensors, keys + len(FIELDS))
    more = b"".join(
        _string(name) + struct.pack("<I", _STRING) + _string(text) for name, text in FIELDS.items()
    )
    head += known + more + described
    path.write_bytes(head + bytes(-len(head) % _ALIGNMENT) + weights)
    return path


def _string(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _skip_string(file):
    [size] = struct.unpack("<Q", file.read(8))
    file.seek(size, 1)


def _skip_value(file, kind):
    if kind == _STRING:
        _skip_string(file)
    elif kind == _ARRAY:
        inner, size = struct.unpack("<IQ", file.read(12))
        if inner in _SIZES:
            file.seek(_SIZES[inner] * size, 1)
        else:
            for _ in range(size):
                _skip_value(file, inner)
    else:
        file.seek(_SIZES[kind], 1)
