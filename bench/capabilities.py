"""The step of every orch workload: it does nothing."""

from orch import capability


@capability("noop")
def noop() -> None:
    """Do nothing."""
