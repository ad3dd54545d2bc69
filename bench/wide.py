"""A worker that serves many capabilities, as many as `WIDTH_VARIABLE` says."""

import os

from orch import capability

WIDTH_VARIABLE = "BENCH_WIDTH"


def noop() -> None:
    """Do nothing."""


for number in range(int(os.environ.get(WIDTH_VARIABLE, "0"))):
    capability(f"wide{number}")(noop)
