"""Tasks of agents outside: whether they are registered."""

from __future__ import annotations

from orch.workflows.validation.review.subject import Review


def check_outside(review: Review) -> None:
    known = review.known_outside
    for step in review.outline.steps():
        agent = step.get("agent")
        if known is None or not isinstance(agent, str) or step.get("external") is not True:
            continue
        if agent not in known:
            review.warning(
                f"{step.path}.agent",
                f"no agent outside is registered as {agent!r}: the task waits until one is, or "
                "somebody else reports it",
                review.suggest(agent, known) or "`orch agents register` registers one",
            )
