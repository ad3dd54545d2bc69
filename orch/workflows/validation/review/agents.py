"""Steps that ask for versions of their capability."""

from __future__ import annotations

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
