"""Parallel branches: how many must succeed, and what they write."""

from __future__ import annotations

from orch.workflows.graph import ScopeKind, as_list, as_mapping, get
from orch.workflows.validation.review.subject import Review
from orch.workflows.validation.review.variables import any_of


def check_parallel(review: Review) -> None:
    variables = review.variables
    for step in review.outline.steps():
        parallel = as_mapping(step.get("parallel"))
        branches = as_list(parallel.get("branches"))
        at_least = get(as_mapping(parallel.get("join")), "atLeast")
        if isinstance(at_least, int) and branches and at_least > len(branches):
            message = f"{at_least} branches must succeed, and there are {len(branches)}"
            review.error(f"{step.path}.parallel.join.atLeast", message)
        writers: dict[str, list[str]] = {}
        for inner in step.inner:
            if inner.kind is ScopeKind.BRANCH:
                sets = any_of(variables.own[each] | variables.inner[each] for each in inner.steps)
                for name in variables.names(sets):
                    writers.setdefault(name, []).append(inner.label.partition(" of ")[0])
        for name, labels in writers.items():
            if len(labels) > 1:
                message = f"{' and '.join(labels)} all set variable {name!r}: the last one wins"
                if len(labels) == 2:
                    message = message.replace(" all set ", " both set ")
                hint = "give each branch a variable of its own"
                review.warning(f"{step.path}.parallel", message, hint)
