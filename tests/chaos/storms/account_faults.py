"""Bedrock refuses the whole account: faults that come and go. Jobs wait, and count no attempt."""

from __future__ import annotations

import time

from books.evidence import plan_faults
from storms.storm import CALM, Context, Storm

FAULTS = ("expired", "denied", "not_allowed", "unrecognized", "payment")
FAULT_S = 3.0  # shorter than the spillway stays shut, so that each fault is over when it is probed


def attack(context: Context) -> None:
    """Play one fault after the other on every call, with pauses in between."""
    faults = context.dice.sample(FAULTS, len(FAULTS))
    played = 0
    while not context.over:
        fault = faults.pop(0)
        faults.append(fault)
        plan_faults(context.mock_url, {fault: 1.0}, 0)
        time.sleep(FAULT_S)
        plan_faults(context.mock_url, CALM, 0)
        time.sleep(FAULT_S / 2)
        played += 1
    print(f"{played} faults, among them {', '.join(faults[-played:])}", flush=True)


STORM = Storm("account", "faults of the AWS account come and go", attack, spares=("local",))
