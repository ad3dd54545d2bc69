"""The steps of the workflows of orch: one does nothing, one takes a while and says where."""

from bench.plain import hold_on
from orch import capability


@capability("noop")
def noop() -> None:
    """Do nothing."""


@capability("hold")
def hold() -> None:
    """Take `HOLD` seconds."""
    hold_on()
