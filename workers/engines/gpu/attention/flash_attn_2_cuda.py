# ruff: noqa: INP001 - a folder for the path, no package
"""Nothing: exllamav2 imports it beside `flash_attn`, and uses it for several GPUs only."""
