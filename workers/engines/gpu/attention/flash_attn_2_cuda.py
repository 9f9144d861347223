# ruff: noqa: INP001 - a folder for the path, no package
"""Empty: exllamav2 imports it beside `flash_attn`, and uses it only with several GPUs."""
