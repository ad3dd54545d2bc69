"""(plan, paths) -> Celery canvas: the work still to do for these tokens.

======================  ===============================================================
a run of task steps     ``chain``, cut after ``links`` signatures
branches of a parallel  ``chord(group(chains), join)``; sent as its header alone, since the
                        journal counts the branches
items of a map          a chain for each; the item that ends a lane is not known when the
                        first is sent, so a chord would count the wrong ones; the same where a
                        parallel bounds how many of its branches run at once
anything else           nothing: it is decided in a settle, or sleeps in the watch
======================  ===============================================================

A signature carries ids and no data: (execution, path, plan key). It is immutable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from celery import chord, group
from celery.canvas import Signature, _chain

from orch.workflows.definition import StepType
from orch.workflows.message import AS_DEFINED, Address
from orch.workflows.node import Node
from orch.workflows.paths import join_of, split
from orch.workflows.plan import Plan
from orch.workflows.rungs import in_rung, subject_of

JOIN_TASK = "orch.flow.join"
DEFAULT_LINKS = 50

NOWHERE_ELSE: Mapping[str, str] = {}

FEWEST, MOST = 8, 200
"""Branches in a bundle."""


def compile_canvas(
    plan: Plan,
    execution: str,
    paths: Iterable[str],
    *,
    links: int = DEFAULT_LINKS,
    priority: int = 0,
    handoff: str = "off",
    queues: Mapping[str, str] = NOWHERE_ELSE,
    addresses: Mapping[str, Address] = AS_DEFINED,
) -> list[Signature]:
    """One canvas for each group of ``paths`` that belongs together, of steps so urgent (0-9).

    Two or more paths in branches of the same parallel step become one chord; every other
    path becomes a chain, or a bare signature where nothing is known to follow. ``handoff``: the
    setting; where it holds many branches that begin alike become one signature, whose worker
    spreads them (`bundles_of`). ``queues``: those of paths whose plan does not say. ``addresses``:
    where messages go that rules have sent elsewhere, by the path of their step.
    """
    members: dict[str | None, list[str]] = {}
    for path in paths:
        join = join_of(split(path)[0])
        members.setdefault(join and join[0], []).append(path)
    canvases: list[Signature] = []
    for step, branches in members.items():
        if step is not None and len(branches) >= FEWEST:
            found, branches = bundles_of(plan, branches, handoff)
            canvases += [bundle_signature(plan, execution, each, priority) for each in found]
        runs = [
            _chained(run_of(plan, execution, path, links, priority, handoff, queues, addresses))
            for path in branches
        ]
        if step is None or len(runs) == 1 or _in_lanes(plan.node(step)):
            canvases += runs
        else:
            join = join_signature(plan, execution, step, priority)
            canvases.append(chord(group(runs), join))
    return canvases


def run_of(
    plan: Plan,
    execution: str,
    path: str,
    links: int = DEFAULT_LINKS,
    priority: int = 0,
    handoff: str = "off",
    queues: Mapping[str, str] = NOWHERE_ELSE,
    addresses: Mapping[str, Address] = AS_DEFINED,
) -> list[Signature]:
    """The signatures from ``path`` on, as far as the plan alone says what follows.

    A step with a condition is part of the run: if it is skipped, the worker drops its link. With
    ``handoff``, the setting, a step of the same queue as the one before it is not: the worker of
    that one goes on with it, and a link that is dropped would be packed and read for nothing.
    """
    run: list[Signature] = []
    at: str | None = path
    while at is not None and len(run) < links:
        node = plan.node(at, addresses.get(subject_of(at)) if addresses else None)
        run.append(step_signature(plan, node, execution, at, priority, queues.get(at)))
        at = _certain_successor(plan, node, at)
        if at is not None and _goes_on(plan, node, plan.node(at), handoff):
            break
    return run


def _goes_on(plan: Plan, node: Node, following: Node, handoff: str) -> bool:
    return node.queue == following.queue and plan.is_handed_on(following, handoff)


def step_signature(
    plan: Plan,
    node: Node,
    execution: str,
    path: str,
    priority: int = 0,
    queue: str | None = None,
) -> Signature:
    """The message for one step. ``queue``: where that of its plan is not meant."""
    shown = shown_as(plan, execution, path)
    limit = {} if node.step.timeout is None else {"time_limit": kill_after(node.step.timeout)}
    if node.step.priority is not None:
        priority = node.step.priority
    return _signature(
        node.task_name, (execution, path, plan.key), queue or node.queue, shown, priority, **limit
    )


def shown_as(plan: Plan, execution: str, path: str, attempt: int = 0) -> str:
    """What Flower and the log call a message, or, with its number, an attempt:
    `project_setup/review_code #1 (exec 04021af5d8ad9202)`."""
    number = f" #{attempt}" if attempt else ""
    return f"{plan.definition.name}/{path}{number} (exec {execution})"


def bundles_of(plan: Plan, paths: list[str], handoff: str) -> tuple[list[list[str]], list[str]]:
    """Branches of a parallel step that one message may bring, and those that it may not.

    They begin with a step of the same capability and queue, which has no time to keep. A bundle of
    a few would cost more than it saves.
    """
    alike: dict[tuple[str, str, int | None], list[str]] = {}
    single: list[str] = []
    for path in paths:
        node = plan.node(path)
        if may_bundle(plan, node, handoff) and not in_rung(path):
            alike.setdefault((node.task_name, node.queue, node.step.priority), []).append(path)
        else:
            single.append(path)
    bundles: list[list[str]] = []
    for found in alike.values():
        if len(found) < FEWEST:
            single += found
        else:
            bundles += [found[at : at + MOST] for at in range(0, len(found), MOST)]
    return bundles, single


def may_bundle(plan: Plan, node: Node, handoff: str) -> bool:
    """Whether the step may be one of several that a message brings together."""
    return may_be_claimed_early(node) and plan.is_handed_on(node, handoff)


def may_be_claimed_early(node: Node) -> bool:
    """Whether the step may be claimed a moment before it is run."""
    step = node.step
    timed = step.timeout or step.heartbeat_timeout or step.schedule_timeout
    if not node.plain or node.roams or timed:
        return False
    return step.delivery == "at_least_once" and not step.compensate


def bundle_signature(plan: Plan, execution: str, paths: list[str], priority: int = 0) -> Signature:
    """One message for the first steps of several branches, which begin alike."""
    node = plan.node(paths[0])
    if node.step.priority is not None:
        priority = node.step.priority
    more = f"{paths[0]} and {len(paths) - 1} more"
    shown = shown_as(plan, execution, more)
    args = (execution, paths[0], plan.key, paths[1:])
    return _signature(node.task_name, args, node.queue, shown, priority)


def join_signature(plan: Plan, execution: str, path: str, priority: int = 0) -> Signature:
    """The body of a chord. Whoever serves the first branch can run it: it needs no agent."""
    queue = next(
        n.queue for n in plan.nodes() if n.key.startswith(f"{plan.node(path).key}/") and n.is_work
    )
    return _signature(
        JOIN_TASK,
        (execution, path, plan.key),
        queue,
        shown_as(plan, execution, f"{path} join"),
        priority,
    )


def _in_lanes(node: Node) -> bool:
    return node.mapped is not None or (node.policy is not None and node.policy.lanes > 0)


def _certain_successor(plan: Plan, node: Node, path: str) -> str | None:
    if not isinstance(node.next, str) or node.poll is not None:
        return None
    following = plan.scopes[node.scope].nodes[node.next]
    if following.type is not StepType.TASK or following.external or following.roams:
        return None
    if following.index <= node.index:
        return None  # a lap is compiled when it begins
    if following.routes:
        return None  # rules decide where its message goes when it is entered
    return plan.follow(path, node.next)


def kill_after(timeout: int) -> float:
    """Seconds after which the pool kills the process of a step with this timeout, ms.

    The journal ends the attempt at its timeout, in every pool; where a step has a process of
    its own (prefork), that is killed a moment later, so that a step that hangs holds no slot.
    """
    return round(timeout / 1000 + 1.0, 3)


def _signature(
    task: str, args: tuple[Any, ...], queue: str, shown: str, priority: int, **more: Any
) -> Signature:
    if priority:
        more["priority"] = priority
    options = {"queue": queue, "argsrepr": shown, **more}
    return Signature(task, args=args, immutable=True, options=options)


def _chained(run: list[Signature]) -> Signature:
    # Not `chain(*run)`: it makes the same object, after two copies of each signature.
    return run[0] if len(run) == 1 else _chain(run)
