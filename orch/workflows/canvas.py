"""(plan, paths) -> Celery canvas: the work still to do for these tokens.

======================  ===============================================================
a run of task steps     ``chain``, cut after ``links`` signatures
branches of a parallel  ``chord(group(chains), join)``; the body is a hint only, since the
                        journal counts the branches
items of a map          a chain for each; the item that ends a lane is not known when the
                        first is sent, so a chord would count the wrong ones; the same where a
                        parallel bounds how many of its branches run at once
anything else           nothing: it is decided in a settle, or sleeps in the watch
======================  ===============================================================

A signature carries ids and no data: (execution, path, plan key). It is immutable.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from celery import chord, group
from celery.canvas import Signature, _chain

from orch.workflows.definition import StepType
from orch.workflows.plan import Node, Plan, join_of, split

JOIN_TASK = "orch.flow.join"
DEFAULT_LINKS = 50


def compile_canvas(
    plan: Plan,
    execution: str,
    paths: Iterable[str],
    *,
    links: int = DEFAULT_LINKS,
    priority: int = 0,
) -> list[Signature]:
    """One canvas for each group of ``paths`` that belongs together, of steps so urgent (0-9).

    Two or more paths in branches of the same parallel step become one chord; every other
    path becomes a chain, or a bare signature where nothing is known to follow.
    """
    members: dict[str | None, list[Signature]] = {}
    for path in paths:
        join = join_of(split(path)[0])
        run = _chained(run_of(plan, execution, path, links, priority))
        members.setdefault(join and join[0], []).append(run)
    canvases: list[Signature] = []
    for step, runs in members.items():
        if step is None or len(runs) == 1 or _in_lanes(plan.node(step)):
            canvases += runs
        else:
            join = join_signature(plan, execution, step, priority)
            canvases.append(chord(group(runs), join))
    return canvases


def run_of(
    plan: Plan, execution: str, path: str, links: int = DEFAULT_LINKS, priority: int = 0
) -> list[Signature]:
    """The signatures from ``path`` on, as far as the plan alone says what follows.

    A step with a condition is part of the run: if it is skipped, the worker drops its link.
    """
    run: list[Signature] = []
    at: str | None = path
    while at is not None and len(run) < links:
        node = plan.node(at)
        run.append(step_signature(plan, node, execution, at, priority))
        at = _certain_successor(plan, node, at)
    return run


def step_signature(
    plan: Plan, node: Node, execution: str, path: str, priority: int = 0
) -> Signature:
    shown = f"{plan.definition.name}/{path}"
    limit = {} if node.step.timeout is None else {"time_limit": kill_after(node.step.timeout)}
    if node.step.priority is not None:
        priority = node.step.priority
    return _signature(
        node.task_name, (execution, path, plan.key), node.queue, shown, priority, **limit
    )


def join_signature(plan: Plan, execution: str, path: str, priority: int = 0) -> Signature:
    """The body of a chord. Whoever serves the first branch can run it: it needs no agent."""
    queue = next(
        n.queue for n in plan.nodes() if n.key.startswith(f"{plan.node(path).key}/") and n.is_work
    )
    return _signature(
        JOIN_TASK,
        (execution, path, plan.key),
        queue,
        f"{plan.definition.name}/{path} join",
        priority,
    )


def _in_lanes(node: Node) -> bool:
    return node.mapped is not None or (node.policy is not None and node.policy.lanes > 0)


def _certain_successor(plan: Plan, node: Node, path: str) -> str | None:
    if not isinstance(node.next, str) or node.poll is not None:
        return None
    following = plan.scopes[node.scope].nodes[node.next]
    if following.type is not StepType.TASK or following.external or following.index <= node.index:
        return None  # a lap is compiled when it begins
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
