"""Settings of Flower for a fleet on one machine: reachable from this machine only, and read-only.

Flower reads this file with `--conf`. Its HTTP API needs no password, because only this machine
can reach it (`address`). A web page that tricks a browser here cannot stop a worker (`read_only`).
"""

from __future__ import annotations

address = "127.0.0.1"
read_only = True
natural_time = True
max_tasks = 10_000
max_workers = 500
purge_offline_workers = 60
# No arguments and results: a doorbell has none of interest, and its page shows the receipt.
tasks_columns = "name,uuid,state,received,started,runtime,worker"
