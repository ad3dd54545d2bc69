"""The cycles among the steps of a scope."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orch.workflows.node import Node


def find_cycles(nodes: Mapping[str, Node], handlers: Iterable[str] = ()) -> dict[str, int]:
    """Number the strongly connected components with a cycle in them (Tarjan 1972, iterative).

    ``handlers`` are steps to which every other step may lead.
    """
    edges = {
        step_id: [
            target
            for target in (
                *node.targets(),
                *(action.next for action in node.on_error),
                *(handler for handler in handlers if handler != step_id),
            )
            if target in nodes
        ]
        for step_id, node in nodes.items()
    }
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    cycles: dict[str, int] = {}

    for root in nodes:
        if root in order:
            continue
        work = [(root, iter(edges[root]))]
        order[root] = low[root] = len(order)
        stack.append(root)
        on_stack.add(root)
        while work:
            current, targets = work[-1]
            for target in targets:
                if target not in order:
                    order[target] = low[target] = len(order)
                    stack.append(target)
                    on_stack.add(target)
                    work.append((target, iter(edges[target])))
                    break
                if target in on_stack:
                    low[current] = min(low[current], order[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[current])
                if low[current] == order[current]:
                    _close_component(current, edges, stack, on_stack, cycles)
    return cycles


def _close_component(
    root: str,
    edges: Mapping[str, list[str]],
    stack: list[str],
    on_stack: set[str],
    cycles: dict[str, int],
) -> None:
    members = []
    while True:
        member = stack.pop()
        on_stack.discard(member)
        members.append(member)
        if member == root:
            break
    if len(members) > 1 or root in edges[root]:
        number = max(cycles.values(), default=0) + 1
        cycles.update(dict.fromkeys(members, number))
