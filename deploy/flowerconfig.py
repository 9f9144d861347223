"""Flower of a fleet on one machine: seen from this machine only, looking and never touching.

Flower reads this file with `--conf`. Its HTTP API answers without a password only because nobody
but this machine can ask (`address`), and even a web page that tricks a browser here cannot stop a
worker (`read_only`).
"""

from __future__ import annotations

address = "127.0.0.1"
read_only = True
natural_time = True
max_tasks = 10_000
max_workers = 500
purge_offline_workers = 60
# Neither arguments nor results: a doorbell has none worth seeing, and the receipt is on its page.
tasks_columns = "name,uuid,state,received,started,runtime,worker"
