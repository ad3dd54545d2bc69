"""Commit a transition, then apply what remains: the one operation behind everything.

A step's end, a fired timer, a joined parallel, a lost attempt and a start differ only in
their outcome. Each is decided by `orch.workflows.transition`, committed by one script, and
followed by the canvas of the tokens that it opened.
"""

from __future__ import annotations

from orch.control.advance.beginning import Beginning
from orch.control.advance.children import Children
from orch.control.advance.committing import Dispatch, FindPlan, Turn, find_nothing
from orch.control.advance.delivery import Delivery
from orch.control.advance.ending import Ending
from orch.control.advance.escalated import Escalated
from orch.control.advance.granting import Granting
from orch.control.advance.reporting import Reporting
from orch.control.advance.timers import Timers

__all__ = ["Advancer", "Dispatch", "FindPlan", "Turn", "find_nothing"]


class Advancer(Children, Ending, Beginning, Delivery, Reporting, Timers, Granting, Escalated):
    """Moves tokens on. ``dispatch`` may fail: the watch brings such tokens back."""
