"""A plan as the Celery canvases that it becomes, one segment after the other.

A segment is what is published at once. It ends where the plan alone does not say what follows
(a decision, a timer, a fork, a join); each such place begins segments of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from celery.canvas import Signature, _chain, _chord

from orch.workflows.calls import callee
from orch.workflows.canvas import compile_canvas, run_of
from orch.workflows.definition import StepType
from orch.workflows.message import goal
from orch.workflows.node import Node
from orch.workflows.paths import ROOT, in_handler, join_of
from orch.workflows.plan import Plan
from orch.workflows.policies import Choice

EXECUTION = "ID"


@dataclass
class Segment:
    """``begins``: when it is published; ``path``: of its first step; ``ends``: what follows."""

    begins: str
    path: str
    canvas: Signature | None = None
    ends: list[str] = field(default_factory=list)


def segments(plan: Plan) -> list[Segment]:
    """All segments of a plan: from its beginning on, then those of failures and handlers."""
    finder = _Finder(plan)
    finder.add("begin", plan.scopes[ROOT].entry)
    finder.follow()
    for node in plan.nodes():
        for action in node.on_error:
            errors = "" if action.errors == ["*"] else f" with {', '.join(action.errors)}"
            target = plan.scopes[node.scope].nodes[action.next]
            finder.add(f"{node.key} fails{errors}", target)
    for index, handler in enumerate(plan.definition.error_handlers):
        found = plan.handler_for(handler.error)
        if found is None or found[0] != index:
            continue
        entry = plan.scopes[ROOT].nodes.get(handler.handler)
        if entry is None:
            entry = plan.scopes[f"errorHandlers/{index}"].entry
        finder.add(f"error {handler.error} that no step takes", entry)
    finder.follow()
    return finder.found


class _Finder:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.repeated = {node.key for node in plan.nodes() if node.mapped or node.loop}
        self.found: list[Segment] = []
        self.begun: dict[str, Segment] = {}
        self.todo: deque[tuple[Segment, Node]] = deque()

    def add(self, begins: str, node: Node) -> None:
        """Remember that a segment begins at a node; one that is known begins there twice."""
        known = self.begun.get(node.key)
        if known is not None:
            known.begins += f"; {begins}"
            return
        segment = Segment(begins, node.key)
        self.begun[node.key] = segment
        self.found.append(segment)
        self.todo.append((segment, node))

    def follow(self) -> None:
        while self.todo:
            segment, node = self.todo.popleft()
            match node.type:
                case StepType.TASK:
                    self._run(segment, node)
                case StepType.WAIT if node.poll is not None:
                    segment.canvas = compile_canvas(self.plan, EXECUTION, [node.key])[0]
                    segment.ends += routes_of(node)
                    self._go_on(segment, node, f"{node.key} asks again until it is done", "end of ")
                case StepType.PARALLEL:
                    self._fork(segment, node)
                case StepType.MAP | StepType.LOOP:
                    self._repeat(segment, node)
                case StepType.DECISION:
                    assert node.choice is not None
                    self._choice(segment, node, node.choice, "decides, in the settle before it")
                case StepType.SUBWORKFLOW:
                    what = f"{node.key} calls {callee(node).name}, an execution of its own"
                    self._go_on(segment, node, what, "child of ")
                case _:
                    self._go_on(segment, node, f"{node.key} sleeps in the watch", "timer of ")

    def _run(self, segment: Segment, node: Node) -> None:
        path = self._first(node)
        run = run_of(self.plan, EXECUTION, path)
        segment.canvas = compile_canvas(self.plan, EXECUTION, [path])[0]
        segment.ends += routes_of(node)
        last = self.plan.node(run[-1].args[1])
        if isinstance(last.next, Choice):
            self._choice(segment, last, last.next, "chooses what follows, in its settle")
        else:
            self._go_on(segment, last, "", "")

    def _go_on(self, segment: Segment, node: Node, what: str, by: str) -> None:
        if isinstance(node.next, Choice):
            self._choice(segment, node, node.next, what or "chooses what follows")
            return
        if what:
            segment.ends.append(what)
        if node.next is None:
            segment.ends.append(self._end(node))
            return
        segment.ends.append(f"then {self._name(node, node.next)}")
        self.add(f"{by}{node.key}", self.plan.scopes[node.scope].nodes[node.next])

    def _choice(self, segment: Segment, node: Node, choice: Choice, what: str) -> None:
        segment.ends.append(f"{node.key} {what}: {choice.expression.text}")
        targets = list(choice.branches.items())
        if choice.default is not None:
            targets.append(("else", choice.default))
        for value, target in targets:
            segment.ends.append(f"  {value} → {self._name(node, target)}")
            self.add(f"{node.key} is {value}", self.plan.scopes[node.scope].nodes[target])

    def _fork(self, segment: Segment, node: Node) -> None:
        entries = [self.plan.scopes[branch].entry for branch in node.branches]
        tasks = [entry for entry in entries if entry.type is StepType.TASK]
        if tasks:
            paths = [self._first(entry) for entry in tasks]
            canvases = compile_canvas(self.plan, EXECUTION, paths)
            segment.canvas = canvases[0]
        for entry in entries:
            if entry.type is StepType.TASK:
                segment.ends += routes_of(entry)
                run = run_of(self.plan, EXECUTION, self._first(entry))
                last = self.plan.node(run[-1].args[1])
                if isinstance(last.next, Choice):
                    self._choice(segment, last, last.next, "chooses what follows, in its settle")
                elif last.next is not None:
                    self._go_on(segment, last, "", "")
            else:
                segment.ends.append(f"branch {entry.key} begins with a {entry.type.value}")
                self.add(f"branch of {node.key}", entry)
        self._go_on(segment, node, f"{node.key} joins, counted in the journal", "join of ")

    def _repeat(self, segment: Segment, node: Node) -> None:
        """A map, or a loop: its steps are published anew for each item or iteration."""
        if node.mapped is not None:
            what = f"each item of {node.key}, at most {node.mapped.lanes} at a time"
        else:
            what = f"each iteration of {node.key}"
        segment.ends.append(f"{what}: {self.plan.scopes[node.key].entry.key}")
        self.add(what, self.plan.scopes[node.key].entry)
        what = "joins, counted in the journal" if node.mapped is not None else "is left"
        self._go_on(segment, node, f"{node.key} {what}", "end of ")

    def _first(self, node: Node) -> str:
        """A path of the node: in the first item or iteration of what is around it."""
        names = node.key.split("/")
        parts = list(names)
        for depth in range(1, len(parts)):
            around = "/".join(names[:depth])
            if around in self.repeated:
                parts[depth - 1] += "[0]"
        return "/".join(parts)

    def _end(self, node: Node) -> str:
        scope = self._first(node).rpartition("/")[0]
        if scope.endswith("]"):
            around = self.plan.node(scope)
            kind = "item" if around.mapped is not None else "iteration"
            return f"the {kind} of {around.key} ends"
        join = join_of(scope)
        if join is not None:
            return f"branch {join[1]} of {self.plan.node(join[0]).key} ends"
        return (
            "the execution fails: its error was handled"
            if in_handler(node.key)
            else ("the workflow ends")
        )

    def _name(self, node: Node, target: str) -> str:
        return self.plan.scopes[node.scope].nodes[target].key


def routes_of(node: Node) -> list[str]:
    """Where rules may send the messages of a step."""
    found = []
    for rule in node.rules.every() if node.rules is not None else ():
        if rule.asked.route is not None:
            where = goal(rule.asked.route.model_dump(exclude_none=True))
            found.append(f"rule {rule.name} may send {node.key} to {where}")
    return found


def draw(found: Sequence[Segment]) -> str:
    """Segments as text, one below the other."""
    lines: list[str] = []
    for segment in found:
        lines.append(f"{segment.begins} → {segment.path}")
        if segment.canvas is not None:
            lines += _draw(segment.canvas, "  ")
        for end in segment.ends:
            lines.append(f"    {end}" if end.startswith("  ") else f"  ⋯ {end}")
        lines.append("")
    return "\n".join(lines).rstrip("\n")


def _draw(canvas: Any, indent: str) -> list[str]:
    if isinstance(canvas, _chord):
        lines = [f"{indent}chord", f"{indent}├─ group"]
        members = list(canvas.tasks)
        for number, member in enumerate(members):
            lines += _below(_draw(member, ""), f"{indent}│  ", number == len(members) - 1)
        return lines + _below(_draw(canvas.body, ""), indent, True)
    if isinstance(canvas, _chain):
        lines, links = [f"{indent}chain"], list(canvas.tasks)
        for number, link in enumerate(links):
            lines += _below(_draw(link, ""), indent, number == len(links) - 1)
        return lines
    return [f"{indent}{canvas.task}  queue {canvas.options['queue']}  path {canvas.args[1]}"]


def _below(lines: Sequence[str], indent: str, last: bool) -> list[str]:
    first, rest = ("└─ ", "   ") if last else ("├─ ", "│  ")
    return [f"{indent}{first if not n else rest}{text}" for n, text in enumerate(lines)]


def as_objects(found: Sequence[Segment]) -> list[dict[str, Any]]:
    """Segments as JSON."""
    return [
        {
            "begins": segment.begins,
            "path": segment.path,
            "canvas": _object(segment.canvas) if segment.canvas is not None else None,
            "ends": [end.strip() for end in segment.ends],
        }
        for segment in found
    ]


def _object(canvas: Any) -> dict[str, Any]:
    if isinstance(canvas, _chord):
        return {"chord": [_object(t) for t in canvas.tasks], "body": _object(canvas.body)}
    if isinstance(canvas, _chain):
        return {"chain": [_object(t) for t in canvas.tasks]}
    return {"task": canvas.task, "queue": canvas.options["queue"], "path": canvas.args[1]}
