"""The table of all storms, in the order in which they are run."""

from __future__ import annotations

from storms import (
    account_faults,
    full_redis,
    hostile_schemas,
    hostile_tenant,
    malformed_usage,
    slow_calls,
)

_MODULES = hostile_schemas, full_redis, hostile_tenant, account_faults, malformed_usage, slow_calls
STORMS = {module.STORM.name: module.STORM for module in _MODULES}
