"""Attempts that a worker gives back: made anew at once, and nothing is said against their steps."""

from __future__ import annotations

from orch.control.runtime import Runtime
from orch.tasks.incarnation import current_incarnation, parse_owner
from orch.workflows.outcome import Released
from orch.workflows.state import StepState


def give_back(runtime: Runtime, execution: str, path: str, state: StepState, reason: str) -> None:
    """What was begun for certain may not be repeated where that was forbidden: then it is lost."""
    key = runtime.journal.plan_of(execution)
    if key is None:
        return
    if runtime.plans.get(key).node(path).step.delivery == "at_most_once":
        runtime.advancer.lose(execution, path, state, reason)
    else:
        runtime.advancer.settle_unowned(execution, path, state, Released())


def give_back_held(
    runtime: Runtime,
    execution: str,
    pid: int | None,
    reason: str,
    *,
    keep: tuple[str, str] | None = None,
) -> None:
    """All that a process of this worker holds of an execution; ``pid`` None: any of them.

    ``keep``: execution and path of what it does hold on to; path '': all of that execution.
    """
    for path, state in runtime.journal.running(execution):
        incarnation, own = parse_owner(state.owner)
        if incarnation != current_incarnation() or pid not in (None, own):
            continue
        if keep is None or keep[0] != execution or keep[1] not in ("", path):
            give_back(runtime, execution, path, state, reason)
