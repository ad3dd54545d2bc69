"""The steps of the workflows of orch: one does nothing, one takes a moment, one takes a while and
says where."""

import time

from bench.plain import WORK, hold_on
from orch import capability


@capability("noop")
def noop() -> None:
    """Do nothing."""


@capability("hold")
def hold() -> None:
    """Take `HOLD` seconds."""
    hold_on()


@capability("work")
def work() -> None:
    """Take `WORK` seconds."""
    time.sleep(WORK)
