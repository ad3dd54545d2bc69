"""Which variables may be set, and which surely are, when a run comes to a step."""

from __future__ import annotations

import re
from collections.abc import Mapping

from orch.workflows.graph import EdgeKind, Scope, ScopeKind, Step, as_mapping, handler_steps, join
from orch.workflows.validation.review.resolving import policy_of
from orch.workflows.validation.review.subject import Review
from orch.workflows.validation.review.variables import all_of, any_of
from orch.workflows.validation.wording import show

_VARIABLE = re.compile(r"[^\W\d]\w*")


def check_output_mappings(review: Review) -> None:
    variables = review.variables
    for step in review.outline.steps():
        output, path = step.get("output"), f"{step.path}.output"
        names = [output] if isinstance(output, str) else list(as_mapping(output))
        variables.own[step] = 0
        for name in names:
            if not _VARIABLE.fullmatch(name):
                hint = "letters, digits and `_`, a letter or `_` first"
                if isinstance(output, str) and "$" in name:
                    hint = "to map an expression, write an object: name to expression"
                place = path if isinstance(output, str) else join(path, name)
                review.error(place, f"{show(name)} is no name of a variable", hint)
                continue
            variables.own[step] |= 1 << variables.bits.setdefault(name, len(variables.bits))


def trace_variables(review: Review) -> None:
    """Which variables may be set, and which surely are, when a run comes to a step.

    First each scope by itself, inner ones first, as if it began with nothing; since
    nothing is ever unset, what its surroundings have set is added afterwards.
    """
    variables = review.variables
    flow = variables.flow
    handlers = [step for step, _ in handler_steps(review.outline)]
    surely: dict[Scope, int] = {}
    gives: dict[Step, int] = {}
    for scope in reversed(review.outline.scopes):
        for step in scope.steps:
            variables.inner[step] = 0
            for inner in step.inner:
                for each in inner.steps:
                    variables.inner[step] |= variables.own[each] | variables.inner[each]
            gives[step] = variables.own[step] | _surely_inside(step, surely)
            if step.get("condition") is not None:
                gives[step] = 0
        _trace_scope(review, scope, gives, handlers if scope.kind is ScopeKind.ROOT else [])
        ends = [s for s in scope.steps if s in review.live and (s.ends_scope or s.dangling)]
        after = [flow.must[step] | gives[step] for step in ends if step in flow.must]
        surely[scope] = all_of(after)
    _add_surroundings(review)


def _trace_scope(
    review: Review, scope: Scope, gives: Mapping[Step, int], handlers: list[Step]
) -> None:
    variables = review.variables
    flow = variables.flow
    passed: dict[Step, None] = {}
    work = [step for step in scope.steps[:1] if flow.come(step, 0, 0)]
    while work:
        while work:
            step = work.pop()
            passed[step] = None
            may, must = flow.may[step] | variables.inner[step], flow.must[step]
            for edge in step.edges:
                failed = edge.kind is EdgeKind.ERROR
                new_may = may if failed else may | variables.own[step]
                if flow.come(edge.target, new_may, must if failed else must | gives[step]):
                    work.append(edge.target)
        # Any step may fail and come to a handler; by turns, since there are many steps.
        for handler in handlers:
            others = [step for step in passed if step is not handler]
            may = any_of(flow.may[step] | variables.inner[step] for step in others)
            must = all_of([flow.must[step] for step in others])
            if others and flow.come(handler, may, must):
                work.append(handler)


def _add_surroundings(review: Review) -> None:
    variables = review.variables
    flow = variables.flow
    for scope in review.outline.scopes:
        if scope.owner is None or scope.owner not in flow.may:
            continue
        may, must = flow.may[scope.owner], flow.must[scope.owner]
        if scope.kind is ScopeKind.LOOP:
            may |= variables.inner[scope.owner]
        for step in scope.steps:
            if step in flow.may:
                flow.may[step] |= may
                flow.must[step] |= must


def _surely_inside(step: Step, surely: Mapping[Scope, int]) -> int:
    """Variables that are set within a step whenever it succeeds."""
    parallel = as_mapping(step.get("parallel"))
    if parallel and parallel.get("join", "all") == "all" and not parallel.get("tolerate"):
        if policy_of(parallel.get("resolve")) in ("first", "priority", "vote"):
            return 0  # the others may have failed, or have been cancelled
        return any_of(surely[inner] for inner in step.inner)
    if as_mapping(step.get("loop")).get("while") is None:
        return any_of(surely[inner] for inner in step.inner if inner.kind is ScopeKind.LOOP)
    return 0
