"""Capabilities of the worker nodes. The file is alone in their volume, so it imports only orch."""

import time

from orch import Context, capability


@capability("nodes_double")
def double(x: int) -> int:
    return x * 2


@capability("nodes_stick")
def stick(context: Context) -> int:
    """Never return from the first attempt."""
    while context.attempt == 1:
        time.sleep(0.05)
    return context.attempt
