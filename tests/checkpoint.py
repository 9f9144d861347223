"""Model folders of any shape without their weights: real headers over files that are all holes."""

import json
from itertools import accumulate

WIDTHS = {"I32": 4, "I16": 2, "F16": 2, "BF16": 2, "F32": 4, "U8": 1}


def write_safetensors(path, tensors):
    """A file with these tensors (name to dtype and shape), of its full length but empty."""
    sizes = [WIDTHS[dtype] * size_of(shape) for dtype, shape in tensors.values()]
    ends = list(accumulate(sizes))
    header = {
        name: {"dtype": dtype, "shape": list(shape), "data_offsets": [end - size, end]}
        for (name, (dtype, shape)), size, end in zip(tensors.items(), sizes, ends, strict=True)
    }
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + (ends or [0])[-1])


def size_of(shape):
    size = 1
    for one in shape:
        size *= one
    return size
