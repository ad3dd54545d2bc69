"""Steps that ask for an agent, or for versions of their capability."""

from __future__ import annotations

from collections.abc import Collection

from orch.workflows.agents import is_called
from orch.workflows.graph import Step
from orch.workflows.ranges import VersionRange
from orch.workflows.validation.review.subject import Review


def check_versions(review: Review) -> None:
    """Warns where the version that workers declare is not the one that a step asks for."""
    for step in review.outline.steps():
        asked, capability = step.get("capabilityVersion"), step.get("capability")
        declared = review.known_declared.get(capability) if isinstance(capability, str) else None
        if not isinstance(asked, str) or declared is None:
            continue
        try:
            holds = VersionRange(asked).holds(declared.version)
        except ValueError:
            continue  # the structure says so
        if not holds:
            review.warning(
                f"{step.path}.capabilityVersion",
                f"step {step.id!r} asks for {capability!r} in a version {asked}, and the worker "
                f"that started last has {declared.version}",
                "start a worker of such a version, or widen the range; the step waits for one",
            )


def check_agents(review: Review) -> None:
    """Warns of agents that nobody has ever heard of: their steps may wait for ever."""
    known = review.known_agents
    if known is None:
        return
    for step in review.outline.steps():
        if step.get("external") is True:
            continue  # of somebody outside
        backups = step.get("backup")
        backups = backups if isinstance(backups, list) else []
        for field, names in (("agent", [step.get("agent")]), ("backup", backups)):
            for name in filter(lambda each: isinstance(each, str), names):
                _check_agent(review, step, field, str(name), known)


def _check_agent(review: Review, step: Step, field: str, name: str, known: Collection[str]) -> None:
    if any(is_called(each, name) for each in known):
        return
    review.warning(
        f"{step.path}.{field}",
        f"no agent {name!r}, which step {step.id!r} names, lives or is remembered",
        review.suggest(name, known) or f"start it: orch worker --name {name}",
    )
