"""The commands and checks of `forebay` that need the workers' side.

`forebay.producers.cli.worker_commands` names them and imports each only when it runs.
"""
