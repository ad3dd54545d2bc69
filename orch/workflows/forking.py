"""Where a fork begins: what of another execution is kept, and the first transition behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orch.errors import NotFound
from orch.workflows.commit import Event, Open, Transition
from orch.workflows.definition import StepType
from orch.workflows.move import Move
from orch.workflows.paths import in_handler, is_below, join_of, join_path, split
from orch.workflows.plan import Plan
from orch.workflows.replay import UNKNOWN, Replay, refused
from orch.workflows.rungs import in_rung
from orch.workflows.state import LIVE, StepState, StepStatus, encode
from orch.workflows.view import (
    CAUSE_FIELD,
    View,
    error_field,
    output_field,
    scopes_up,
    variable_field,
)

MARKS = "=!?"


@dataclass(frozen=True)
class Kept:
    """What a fork keeps. ``states``: path -> state; ``texts``: outputs and failures.

    ``given``: variables that no kept step set, but somebody who resumed or forked. Works of rungs
    are not kept: what they came to is the output of their step.
    """

    path: str
    states: Mapping[str, StepState]
    texts: Mapping[str, str]
    events: tuple[Event, ...]
    view: View
    given: frozenset[str]


def keep(
    plan: Plan,
    path: str,
    steps: Mapping[str, str],
    history: Sequence[Event],
    view: View,
    variables: Mapping[str, Any],
) -> Kept:
    """What an execution had done when its token came to ``path``.

    ``view``: its input and its variables as they are now; ``variables``: those that the fork
    sets. Of the branches beside one in which ``path`` stands, those that ended well are kept.
    Raises NotFound, and NotAllowed with the reason where that is not exact.
    """
    chain = _chain(plan, path, steps)
    states = {name: StepState.loads(t) for name, t in steps.items() if name[:1] not in MARKS}
    first = {target: _first_event(history, target) for target in chain}
    roots = _done_before(chain, first, states, history) | _good_branches(plan, chain, steps)

    def keeps(found: str) -> bool:
        if in_rung(found):
            return False
        while found:
            if found in roots:
                return True
            found = found[: max(found.rfind("/"), found.rfind("["), 0)]
        return False

    live = [name for name, state in states.items() if keeps(name) and state.status in LIVE]
    if live:
        raise refused(f"step {sorted(live)[0]!r} before it has not ended")
    replay = Replay(plan, steps, history, view, keeps)
    kept_events = [i for i, event in enumerate(history) if event.path and keeps(event.path)]
    replay.run(max([first[path], *(i + 1 for i in kept_events)]))
    unknown = [name for name in replay.unknown() if name not in variables]
    if unknown:
        raise refused(f"the value that variable {unknown[0]!r} had there is not known; set it anew")
    scopes = scopes_up(split(path)[0])
    if any(replay.errors.get(scope) is UNKNOWN for scope in scopes) or replay.cause is UNKNOWN:
        raise refused("an error that was taken before it is not in the history")
    return Kept(
        path,
        {name: state for name, state in states.items() if keeps(name)},
        {n: text for n, text in steps.items() if n[:1] in ("=", "!") and keeps(n[1:])},
        tuple(history[i] for i in kept_events),
        replace(
            view,
            variables={**replay.variables, **variables},
            outputs={s: replay.output_of(s) for s in scopes if s in replay.outputs},
            errors={s: replay.errors[s] for s in scopes if s in replay.errors},
            cause=replay.cause,
        ),
        frozenset(replay.given - set(variables)),
    )


def begin_fork(plan: Plan, kept: Kept, view: View, told: Event, now: int, grace: int) -> Transition:
    """The first transition of a fork: all that is kept, and the token at its path.

    ``plan`` may be that of another version. ``view``: that of ``kept``, with the fork's own
    execution and input. ``told``: the event that says where it comes from.
    """
    _check_fits(plan, kept)
    move = Move(plan, view, now, grace)
    chain = _parents(kept.path)
    for up in reversed(chain[1:]):
        _open_parallel(move, plan, up, chain, kept)
    move.enter(plan.node(kept.path), kept.path)
    found = move.transition("", None)
    fields = {variable_field(name): encode(value) for name, value in view.variables.items()}
    for scope, output in view.outputs.items():
        if plan.uses_previous_output(scope):
            fields[output_field(scope)] = encode(output)
    fields |= {error_field(scope): encode(error) for scope, error in view.errors.items()}
    if view.cause is not None:
        fields[CAUSE_FIELD] = encode(view.cause)
    return replace(
        found,
        opens=(*(Open(path, state) for path, state in kept.states.items()), *found.opens),
        texts=(*kept.texts.items(), *found.texts),
        fields=tuple({**fields, **dict(found.fields)}.items()),
        events=(*kept.events, told, *found.events),
    )


def _open_parallel(move: Move, plan: Plan, up: str, chain: list[str], kept: Kept) -> None:
    """Open a parallel step around the path; branches that are not kept begin anew."""
    node = plan.node(up)
    assert node.policy is not None
    total = len(node.branches)
    good = [n for n in range(total) if f"={join_path(up, str(n))}" in kept.texts]
    state = StepState(
        StepStatus.JOINING,
        since=move.now,
        started=move.now,
        total=total,
        left=total - len(good),
        need=node.policy.need,
        tolerated=node.policy.tolerated,
        votes=node.policy.ballots,
    )
    for number in good:
        output = json.loads(kept.texts[f"={join_path(up, str(number))}"])
        state = state.with_ballot(node.policy.ballot(output), number)
    if state.decided:
        raise refused(f"the branches of {up!r} that ended well decide it")
    due = move.now + move.grace
    timeout = node.step.timeout
    move.opens[up] = Open(up, state, due if timeout is None else min(due, move.now + timeout))
    move.note("forked", up, 1, {"branches": total})
    for number, branch in enumerate(node.branches):
        scope = join_path(up, str(number))
        if number not in good and not any(split(path)[0] == scope for path in chain):
            entry = plan.scopes[branch].entry
            move.enter(entry, join_path(scope, entry.id))


def _parents(path: str) -> list[str]:
    """The path, and the steps around it, innermost first."""
    found = [path]
    while (up := join_of(split(found[-1])[0])) is not None:
        found.append(up[0])
    return found


def _chain(plan: Plan, path: str, steps: Mapping[str, str]) -> list[str]:
    if path[:1] in MARKS or path not in steps:
        here = sorted(name for name in steps if name[:1] not in MARKS and "[" not in name)
        raise NotFound(
            f"the execution was at no step {path!r}; it was at: {', '.join(here[:50])}",
            hint="`orch status` shows the paths of all steps",
        )
    if in_handler(path):
        raise refused(f"step {path!r} is an error handler's; fork from the step that failed")
    chain = _parents(path)
    for up in chain[1:]:
        if plan.node(up).type is not StepType.PARALLEL:
            raise refused(
                f"step {path!r} stands in the {plan.node(up).type.value} {up!r}; fork from "
                f"that, as a whole"
            )
    return chain


def _first_event(history: Sequence[Event], target: str) -> int:
    """When the token came there, as far as the history knows: the number of an event."""
    return next(
        (i for i, e in enumerate(history) if e.path == target or is_below(e.path, target)),
        len(history),
    )


def _done_before(
    chain: list[str],
    first: Mapping[str, int],
    states: Mapping[str, StepState],
    history: Sequence[Event],
) -> set[str]:
    """Steps of the same scopes of which one heard earlier: a scope is one thread of control."""
    scopes = {split(target)[0]: target for target in chain}
    return {
        event.path
        for i, event in enumerate(history)
        if event.path in states
        and (target := scopes.get(split(event.path)[0])) is not None
        and event.path != target
        and i < first[target]
    }


def _good_branches(plan: Plan, chain: list[str], steps: Mapping[str, str]) -> set[str]:
    """Branches beside the path that ended well."""
    own = {split(path)[0] for path in chain}
    scopes = {
        join_path(up, str(number))
        for up in chain[1:]
        for number in range(len(plan.node(up).branches))
    }
    return {scope for scope in scopes - own if f"={scope}" in steps}


def _check_fits(plan: Plan, kept: Kept) -> None:
    """Whether the plan, perhaps of another version, has all steps that are kept."""
    for path in (*_parents(kept.path), *kept.states):
        try:
            node = plan.node(path)
        except KeyError:
            raise refused(f"version {plan.version} has no step {path!r}") from None
        if path in _parents(kept.path)[1:] and node.type is not StepType.PARALLEL:
            raise refused(f"in version {plan.version} step {path!r} is no parallel")
