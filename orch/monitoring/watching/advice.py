"""When another number of workers is advised than was advised last, and other limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orch.monitoring.facts import Facts, capability_of
from orch.monitoring.scaling import advised_for
from orch.monitoring.watching.notes import Notes, State
from orch.resources.advice import CapacityPlan
from orch.workflows.notices import ESCALATION_QUEUE

STEADY = 3
"""Observations in a row in which more, or fewer, are advised than was told, before it is told."""


def watch_scaling(state: State, facts: Facts, notes: Notes) -> None:
    """``state``: capability -> [told, how often another number was advised, which way, note]."""
    served = {str(name) for said in facts.workers for name in said["queues"]}
    waiting = {name for name, depth in facts.queues.items() if depth}
    names = {n for n in served | waiting if capability_of(n) and n != ESCALATION_QUEUE}
    for name in sorted({*state, *names}):
        running = len(facts.serving(name))
        advised = advised_for(name, facts.queues.get(name, 0), facts.workers, least=min(running, 1))
        told, times, way, note = state.get(name) or [max(running, 1), 0, 0, ""]
        differs = (advised > told) - (advised < told)
        times = times + 1 if differs and differs == way else int(bool(differs))
        if times == STEADY:
            note = notes.add(
                "OPTIM",
                f"{name}: {advised} workers are advised, {running} run; {told} were advised before",
                f"capability:{name}",
                tags=["event:scaling", f"capability:{name}"],
                related=[note],
                data={"advised": advised, "running": running, "before": told},
            )
            told, times = advised, 0
        if name not in names and not facts.queues.get(name) and not differs:
            state.pop(name, None)
        else:
            state[name] = [told, times, differs, note]


def watch_limits(state: State, plans: Sequence[CapacityPlan], notes: Notes) -> None:
    """``state``: limit -> [advised, note]. ``plans``: those that want a change."""
    found: Mapping[str, CapacityPlan] = {f"{each.kind} {each.name}": each for each in plans}
    for name in [*state]:
        if name not in found:
            _, note = state.pop(name)
            notes.add(
                "OPTIM",
                f"{name} is enough as it is",
                f"limit:{name}",
                tags=["event:limit", "advised:none"],
                related=[note],
            )
    for name, each in found.items():
        before = state.get(name) or [None, ""]
        if before[0] == each.advised:
            continue
        note = notes.add(
            "OPTIM",
            each.advice,
            f"limit:{name}",
            tags=["event:limit", f"kind:{each.kind}"],
            related=[before[1]],
            data=each.model_dump(mode="json"),
        )
        state[name] = [each.advised, note]
