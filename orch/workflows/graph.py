"""The steps of a definition and the edges between them, and how they are drawn.

`outline` reads a raw document and takes what it can: a document with errors has an outline
too, so that the validator finds all of them at once. Names of fields may be camelCase or
snake_case; paths are always camelCase.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any

from pydantic.alias_generators import to_snake

from orch.workflows.definition import StepType, WorkflowDefinition

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class EdgeKind(StrEnum):
    NEXT = "next"  # the step that follows
    BRANCH = "branch"  # the step for one value of an expression, or for all others
    ERROR = "error"  # where a failure goes
    TIMEOUT = "timeout"  # where an event goes that does not come in time
    HANDLER = "handler"  # where errors go that no `onError` took


class ScopeKind(StrEnum):
    ROOT = "root"  # the workflow itself
    BRANCH = "branch"  # one branch of a parallel
    MAP = "map"  # the steps for one item
    LOOP = "loop"  # the steps that are repeated


@dataclass(frozen=True)
class Reference:
    """A place in a step that names another one. ``followed``: a run can take this way."""

    kind: EdgeKind
    name: str
    path: str
    label: str = ""
    followed: bool = True


@dataclass(frozen=True)
class Edge:
    kind: EdgeKind
    target: Step
    label: str = ""


@dataclass(eq=False)
class Step:
    """A step as it is written: ``fields`` are its raw fields, ``path`` is where it stands."""

    id: str
    path: str
    index: int
    fields: Mapping[str, Any]
    scope: Scope
    type: str
    inner: list[Scope] = field(default_factory=list)
    references: list[Reference] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    dangling: bool = False
    """Whether one of its references leads nowhere, so that nobody knows what follows."""

    def get(self, name: str) -> Any:
        return get(self.fields, name)

    @property
    def ends_scope(self) -> bool:
        """Whether the scope may end here without an error."""
        if self.type == StepType.DECISION and self.get("decision"):
            return self.get("condition") is not None and not isinstance(self.get("next"), str)
        return not self.get("next")

    @property
    def may_find_no_branch(self) -> bool:
        """Whether an expression may have a value that no branch takes, which is an error."""
        if self.type == StepType.DECISION:
            return not isinstance(self.get("next"), str) and not is_total(self.get("decision"))
        following = self.get("next")
        return isinstance(following, dict) and not is_total(following)


@dataclass(eq=False)
class Scope:
    """Steps that follow one another; the first is where it begins."""

    path: str
    kind: ScopeKind
    label: str
    owner: Step | None
    roots: frozenset[str]
    """What expressions may read here besides what they may read everywhere."""
    steps: list[Step] = field(default_factory=list)
    ids: dict[str, Step] = field(default_factory=dict)


@dataclass(frozen=True)
class Outline:
    """All scopes in the order of the document, an outer one before its inner ones."""

    document: Mapping[str, Any]
    scopes: tuple[Scope, ...]
    places: Mapping[str, Step]
    """Id -> the first step that has it, in any scope."""

    @property
    def root(self) -> Scope:
        return self.scopes[0]

    def steps(self) -> Iterator[Step]:
        for scope in self.scopes:
            yield from scope.steps

    def handlers(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Path and fields of every error handler."""
        handlers = as_list(get(self.document, "errorHandlers"))
        return [
            (join("errorHandlers", index), handler)
            for index, handler in enumerate(handlers)
            if isinstance(handler, dict)
        ]


# --- reading raw documents -------------------------------------------------------------------

snake = cache(to_snake)


def get(fields: Mapping[str, Any], name: str) -> Any:
    """A field under its camelCase name, or else its snake_case one."""
    return fields[name] if name in fields else fields.get(snake(name))


def as_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def join(path: str, key: str | int) -> str:
    """``steps`` and 2 -> ``steps[2]``; ``input`` and ``a b`` -> ``input["a b"]``."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if not IDENTIFIER.fullmatch(key):
        escaped = key.replace("\\", "\\\\").replace('"', '\\"')
        return f'{path}["{escaped}"]'
    return f"{path}.{key}" if path else key


def is_total(branches: Any) -> bool:
    """Whether every value has its branch. `true` and `false` alone go by truth."""
    fields = as_mapping(branches)
    return get(fields, "default") is not None or set(as_mapping(fields.get("branches"))) == {
        "true",
        "false",
    }


def outline(document: Mapping[str, Any]) -> Outline:
    """The scopes, steps and edges of a document whose structure may be wrong anywhere."""
    scopes: list[Scope] = []
    root = Scope("steps", ScopeKind.ROOT, "the workflow", None, frozenset())
    work: list[tuple[Scope, Sequence[Any]]] = [(root, as_list(document.get("steps")))]
    while work:  # not recursive: definitions may nest deeper than Python's stack
        scope, raw_steps = work.pop()
        scopes.append(scope)
        nested: list[tuple[Scope, Sequence[Any]]] = []
        for index, raw in enumerate(raw_steps):
            if isinstance(raw, dict):
                step = _read_step(scope, index, raw)
                scope.steps.append(step)
                scope.ids.setdefault(step.id, step)
                for inner, steps in _inner_scopes(step):
                    step.inner.append(inner)
                    nested.append((inner, steps))
        work.extend(reversed(nested))
    places: dict[str, Step] = {}
    for scope in scopes:
        for step in scope.steps:
            places.setdefault(step.id, step)
    found = Outline(document, tuple(scopes), places)
    _link(found)
    return found


def _read_step(scope: Scope, index: int, raw: Mapping[str, Any]) -> Step:
    step_id, step_type = raw.get("id"), raw.get("type", StepType.TASK.value)
    step = Step(
        id=step_id if isinstance(step_id, str) else "",
        path=join(scope.path, index),
        index=index,
        fields=raw,
        scope=scope,
        type=step_type if isinstance(step_type, str) else "",
    )
    step.references.extend(_references(step))
    return step


def _inner_scopes(step: Step) -> Iterator[tuple[Scope, Sequence[Any]]]:
    outer = step.scope.roots
    parallel = as_mapping(step.get("parallel"))
    for number, branch in enumerate(as_list(parallel.get("branches"))):
        if isinstance(branch, dict):
            path = f"{step.path}.parallel.branches[{number}].steps"
            label = f"branch {branch.get('name') or number!r} of step {step.id!r}"
            yield (
                Scope(path, ScopeKind.BRANCH, label, step, outer),
                as_list(branch.get("steps")),
            )
    mapped = as_mapping(step.get("map"))
    if isinstance(mapped.get("steps"), list):
        label = f"the steps of map {step.id!r}"
        roots = outer | item_roots(mapped)
        yield Scope(f"{step.path}.map.steps", ScopeKind.MAP, label, step, roots), mapped["steps"]
    looped = as_mapping(step.get("loop"))
    if isinstance(looped.get("steps"), list):
        label = f"the steps of loop {step.id!r}"
        roots = outer | {"index"}
        yield Scope(f"{step.path}.loop.steps", ScopeKind.LOOP, label, step, roots), looped["steps"]


def item_roots(mapped: Mapping[str, Any]) -> frozenset[str]:
    """What expressions may read for an item of a map: the item, by its name too, and its index."""
    name = get(mapped, "as")
    return frozenset({"item", "index", name} if isinstance(name, str) else {"item", "index"})


def _references(step: Step) -> Iterator[Reference]:
    decision = step.get("decision")
    if isinstance(decision, dict):
        yield from _branch_references(decision, f"{step.path}.decision")
    following = step.get("next")
    if isinstance(following, str):
        followed = (
            step.type != StepType.DECISION
            or not is_total(decision)
            or step.get("condition") is not None
        )
        yield Reference(EdgeKind.NEXT, following, f"{step.path}.next", "", followed)
    elif isinstance(following, dict):
        followed = step.type != StepType.DECISION
        for found in _branch_references(following, f"{step.path}.next"):
            yield Reference(found.kind, found.name, found.path, found.label, followed)
    yield from _error_references(step)
    target = get(as_mapping(step.get("event")), "onTimeout")
    if isinstance(target, str):
        yield Reference(EdgeKind.TIMEOUT, target, f"{step.path}.event.onTimeout", "timeout")


def _branch_references(branches: Mapping[str, Any], path: str) -> Iterator[Reference]:
    for value, target in as_mapping(branches.get("branches")).items():
        if isinstance(target, str):
            yield Reference(EdgeKind.BRANCH, target, join(f"{path}.branches", value), value)
    if isinstance(branches.get("default"), str):
        yield Reference(EdgeKind.BRANCH, branches["default"], f"{path}.default", "default")


def _error_references(step: Step) -> Iterator[Reference]:
    action, path = step.get("onError"), f"{step.path}.onError"
    if isinstance(action, str):
        yield Reference(EdgeKind.ERROR, action, path, "error")
        return
    actions = [(path, action)] if isinstance(action, dict) else []
    actions += [(join(path, index), each) for index, each in enumerate(as_list(action))]
    for place, each in actions:
        target = as_mapping(each).get("next")
        if isinstance(target, str):
            names = [str(name) for name in as_list(each.get("errors")) if name != "*"]
            label = f"error: {', '.join(names)}" if names else "error"
            yield Reference(EdgeKind.ERROR, target, f"{place}.next", label)


def _link(found: Outline) -> None:
    for step in found.steps():
        for reference in step.references:
            target = step.scope.ids.get(reference.name)
            if target is None:
                step.dangling = True
            elif reference.followed:
                step.edges.append(Edge(reference.kind, target, reference.label))


# --- what can follow what --------------------------------------------------------------------


def handler_steps(found: Outline) -> list[tuple[Step, str]]:
    """The steps of the workflow that handle errors, with the name of the error."""
    steps = []
    for _, handler in found.handlers():
        name, error = handler.get("handler"), handler.get("error", "*")
        target = found.root.ids.get(name) if isinstance(name, str) else None
        if target is not None:
            steps.append((target, error if isinstance(error, str) else "*"))
    return steps


def reachable(scope: Scope, entries: Iterable[Step]) -> set[Step]:
    """The steps of a scope that a run can come to from its beginning or from ``entries``."""
    seen = {*scope.steps[:1], *entries}
    work = list(seen)
    while work:
        for edge in work.pop().edges:
            if edge.target not in seen:
                seen.add(edge.target)
                work.append(edge.target)
    return seen


def endless_cycles(steps: set[Step]) -> Iterator[tuple[list[Step], bool]]:
    """Cycles that a run never leaves, each with whether an error can leave it.

    A step is trapped when no way leads from it to an end of the scope. All that follows a
    trapped step is trapped too, so whoever goes on from there comes to a cycle.
    """
    ends = {step for step in steps if step.ends_scope or step.dangling}
    flow = {step: [e.target for e in step.edges if e.kind is not EdgeKind.ERROR] for step in steps}
    trapped = steps - _leading_to(ends | {s for s in steps if not flow[s]}, flow)
    if not trapped:
        return
    every = {step: [edge.target for edge in step.edges] for step in steps}
    saved = _leading_to(ends | {s for s in steps if s.may_find_no_branch or not every[s]}, every)
    seen: set[Step] = set()
    for start in sorted(trapped, key=lambda step: step.index):
        way: dict[Step, None] = {}
        current = start
        while current not in seen:
            seen.add(current)
            way[current] = None
            current = flow[current][0]
        if current in way:
            passed = list(way)
            cycle = passed[passed.index(current) :]
            yield cycle, current in saved


def _leading_to(goals: set[Step], edges: Mapping[Step, list[Step]]) -> set[Step]:
    before: dict[Step, list[Step]] = {}
    for step, targets in edges.items():
        for target in targets:
            before.setdefault(target, []).append(step)
    seen, work = set(goals), list(goals)
    while work:
        for step in before.get(work.pop(), ()):
            if step not in seen:
                seen.add(step)
                work.append(step)
    return seen


# --- drawing ---------------------------------------------------------------------------------


def as_json(definition: WorkflowDefinition) -> dict[str, Any]:
    """Nodes and edges: ``{"nodes": [{id, label, type, path, parent}], "edges": [{from, to, …}]}``.

    Ids are those of the steps; a branch is ``step/0``, an error handler ``errorHandlers/0``.
    ``parent`` is the node that a node lies in, or None. ``kind`` of an edge is an `EdgeKind`.
    """
    found = outline(definition.model_dump(mode="json", by_alias=True, exclude_defaults=True))
    nodes: list[dict[str, Any]] = []
    edges: list[dict[str, Any]] = []
    for scope in found.scopes:
        parent = None
        if scope.owner is not None:
            parent = scope.owner.id
            if scope.kind is ScopeKind.BRANCH:
                number = scope.owner.inner.index(scope)
                parent = f"{parent}/{number}"
                branch = scope.owner.fields["parallel"]["branches"][number]
                label = branch.get("name") or f"branch {number}"
                path = scope.path.removesuffix(".steps")
                nodes.append(_node(parent, label, "branch", path, scope.owner.id))
        for step in scope.steps:
            nodes.append(_node(step.id, _label(step), step.type, step.path, parent))
            edges += [
                {"from": step.id, "to": e.target.id, "kind": e.kind.value, "label": e.label}
                for e in step.edges
            ]
    for index, (path, handler) in enumerate(found.handlers()):
        name, error = handler["handler"], handler.get("error", "*")
        own = f"errorHandlers/{index}"
        nodes.append(_node(own, f"error: {error}", "handler", path, None))
        target = name
        if name not in found.root.ids:
            target = f"{own}/{name}"
            nodes.append(_node(target, name, "handled_by", f"{path}.handler", None))
        edges.append({"from": own, "to": target, "kind": EdgeKind.HANDLER.value, "label": ""})
    return {"nodes": nodes, "edges": edges}


def _node(node_id: str, label: str, kind: str, path: str, parent: str | None) -> dict[str, Any]:
    return {"id": node_id, "label": label, "type": kind, "path": path, "parent": parent}


def _label(step: Step) -> str:
    name = step.get("name")
    return name if isinstance(name, str) and name else step.id


_SHAPES = {
    "task": ('["', '"]'),
    "subworkflow": ('[["', '"]]'),
    "decision": ('{"', '"}'),
    "wait": ('(["', '"])'),
    "event": ('{{"', '"}}'),
    "map": ('[/"', '"/]'),
    "loop": ('[/"', '"/]'),
    "handler": ('>"', '"]'),
    "handled_by": ('[["', '"]]'),
}
_DASHED = {EdgeKind.ERROR, EdgeKind.TIMEOUT, EdgeKind.HANDLER}

# Mermaid reads entities, HTML, markdown, `%%` comments and `$$` formulas inside of quotes too.
_UNSAFE = re.compile(r"[^\w .,:/()'!?=+*@|$-]|\$(?=\$)")


def mermaid(definition: WorkflowDefinition) -> str:
    """A Mermaid flowchart: steps by shape, errors dashed, `parallel` as a box of branches.

    The same definition always gives the same text. The Mermaid ids of steps are those of
    `node_ids`, so that a caller can add styles.
    """
    graph = as_json(definition)
    ids = _mermaid_ids(node["id"] for node in graph["nodes"])
    children: dict[str | None, list[dict[str, Any]]] = {}
    for node in graph["nodes"]:
        children.setdefault(node["parent"], []).append(node)
    lines = ["flowchart TD"]
    work: list[tuple[int, dict[str, Any] | None]] = [
        (1, node) for node in reversed(children.get(None, []))
    ]
    while work:
        depth, node = work.pop()
        indent = "    " * depth
        if node is None:
            lines.append(f"{indent}end")
            continue
        own, label = ids[node["id"]], escape_label(node["label"])
        if node["id"] in children:
            lines.append(f'{indent}subgraph {own}["{label}"]')
            work.append((depth, None))
            work += [(depth + 1, child) for child in reversed(children[node["id"]])]
        else:
            opening, closing = _SHAPES.get(node["type"], _SHAPES["task"])
            lines.append(f"{indent}{own}{opening}{label}{closing}")
    for edge in graph["edges"]:
        arrow = "-.->" if edge["kind"] in _DASHED else "-->"
        label = f'|"{escape_label(edge["label"])}"|' if edge["label"] else ""
        lines.append(f"    {ids[edge['from']]} {arrow}{label} {ids[edge['to']]}")
    return "\n".join(lines) + "\n"


def node_ids(definition: WorkflowDefinition) -> dict[str, str]:
    """Id in `as_json` -> id in `mermaid`."""
    return _mermaid_ids(node["id"] for node in as_json(definition)["nodes"])


def escape_label(text: str) -> str:
    """Text for a quoted Mermaid label: what could end it, or mean something, as an entity."""
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", "\n", text.strip())
    return "<br/>".join(
        _UNSAFE.sub(lambda found: f"#{ord(found[0])};", line) for line in text.split("\n")
    )


def _mermaid_ids(names: Iterable[str]) -> dict[str, str]:
    """Prefixed, since `end` is a keyword and a leading `o` or `x` changes an arrow's head."""
    ids: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        if name in ids:
            continue
        base = own = "step_" + re.sub(r"[^A-Za-z0-9_]", "_", name)
        number = 2
        while own in taken:
            own, number = f"{base}_{number}", number + 1
        taken.add(own)
        ids[name] = own
    return ids
