"""A definition changed step by step: insert, replace, remove. Nothing is stored here.

The steps that an execution has entered, and those that no way leads to any more, stay as they
are. All that stands against the changes is told at once.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from orch.workflows.definition import WorkflowDefinition, WorkflowStep
from orch.workflows.migrating import steps_after
from orch.workflows.node import Node
from orch.workflows.paths import join_path
from orch.workflows.plan import Plan
from orch.workflows.state import LIVE, StepState
from orch.workflows.validation import Finding, Severity

KINDS = {"insert": {"after", "before"}, "replace": {"at"}, "remove": set()}
"""Kind of a change -> what may stand beside it."""

Document = dict[str, Any]


@dataclass(frozen=True)
class Standing:
    """How far an execution is. ``entered``: key of a step -> its status; ``ahead``: keys of
    the steps to which a live one may still lead."""

    entered: Mapping[str, str]
    ahead: Collection[str]

    @classmethod
    def of(cls, plan: Plan, fields: Mapping[str, str], reopened: Collection[str] = ()) -> Standing:
        """``fields``: those of the steps' hash; ``reopened``: paths that a retry lets live."""
        states = {p: StepState.loads(text) for p, text in fields.items() if p[0] not in "=!?"}
        tokens = {p: s for p, s in states.items() if s.status in LIVE or p in reopened}
        return cls(_entered(plan, states), steps_ahead(plan, tokens))


def _entered(plan: Plan, states: Mapping[str, StepState]) -> dict[str, str]:
    found = {}
    for path, state in states.items():
        try:
            node = plan.node(path)
        except KeyError:
            continue  # of a version that it was on before
        found[node.key] = state.status.value
        if node.mapped is not None:
            # An item that went well at once leaves no state behind.
            found.setdefault(plan.scopes[node.branches[0]].entry.key, "run for some items")
    return found


def steps_ahead(plan: Plan, tokens: Mapping[str, StepState]) -> set[str]:
    """Keys of all steps to which one of the tokens may lead."""
    found: set[str] = set()
    todo: list[tuple[Node, int]] = []  # and which of its branches are the first to come
    for path, state in tokens.items():
        node = plan.node(path)
        again = node.loop is not None or (node.mapped is not None and state.opened < state.total)
        # Of a parallel that bounds how many run at once, those wait that were not opened.
        todo.append((node, 0 if again else state.opened or len(node.branches)))
    while todo:
        node, first = todo.pop()
        nodes = plan.scopes[node.scope].nodes
        following = [nodes[target] for target in steps_after(plan, node)]
        following += [plan.scopes[scope].entry for scope in node.branches[first:]]
        for each in following:
            if each.key not in found:
                found.add(each.key)
                todo.append((each, 0))
    return found


def modify(
    definition: WorkflowDefinition, changes: Sequence[Any], standing: Standing
) -> tuple[Document, list[Finding], set[str]]:
    """The document that the changes make, what stands against them, and the keys inserted.

    Each change is one of `{"insert": step, "after": id}`, `{"insert": step, "before": id}`,
    `{"replace": step}`, `{"remove": id}`; steps are named by id, or by their path where ids
    are not unique (`{"replace": step, "at": path}`). What is made must still be validated.
    """
    made = _Change(_document(definition), standing)
    for number, change in enumerate(changes):
        made.apply(f"changes[{number}]", change)
    if not changes:
        made.refuse("changes", "there are none")
    return made.document, made.findings, made.inserted


def unreachable(plan: Plan, inserted: Iterable[str], ahead: Collection[str]) -> list[Finding]:
    """Steps of the new plan that were inserted where no live token comes by any more."""
    return [
        Finding(
            Severity.ERROR,
            plan.node(key).id,
            "is inserted where the execution does not come by any more",
            "insert it behind a step that is live, or still to come",
        )
        for key in sorted(inserted)
        if key not in ahead
    ]


def _document(definition: WorkflowDefinition) -> Document:
    return copy.deepcopy(definition.model_dump(mode="json", by_alias=True, exclude_defaults=True))


@dataclass
class _Place:
    """Where a step stands: ``steps`` is the list that holds it."""

    key: str
    scope: str
    steps: list[Document]
    index: int

    @property
    def step(self) -> Document:
        return self.steps[self.index]


@dataclass
class _Change:
    document: Document
    standing: Standing
    findings: list[Finding] = field(default_factory=list)
    inserted: set[str] = field(default_factory=set)

    def refuse(self, where: str, message: str, hint: str = "") -> None:
        self.findings.append(Finding(Severity.ERROR, where, message, hint))

    def apply(self, where: str, change: Any) -> None:
        kinds = [kind for kind in KINDS if isinstance(change, Mapping) and kind in change]
        if len(kinds) != 1:
            self.refuse(where, f"takes one of {', '.join(f'`{kind}`' for kind in KINDS)}")
            return
        kind = kinds[0]
        if unknown := sorted(change.keys() - {kind} - KINDS[kind]):
            self.refuse(where, f"`{kind}` takes no {', '.join(f'`{name}`' for name in unknown)}")
            return
        match kind:
            case "insert":
                self._insert(where, change)
            case "replace":
                self._replace(where, change)
            case _:
                self._remove(where, change["remove"])

    # --- the three -----------------------------------------------------------------------------

    def _insert(self, where: str, change: Mapping[str, Any]) -> None:
        sides = [side for side in ("after", "before") if side in change]
        step = self._step(where, change["insert"])
        if len(sides) != 1:
            self.refuse(where, "`insert` takes one of `after` and `before`, the id of a step")
            return
        place = self._place(where, change[sides[0]])
        if step is None or place is None:
            return
        if any(other["id"] == step["id"] for other in place.steps):
            self.refuse(where, f"there is a step {step['id']!r} already", "give it another id")
            return
        at = self._behind(where, place, step) if "after" in change else _ahead_of(place, step)
        if at is not None:
            place.steps.insert(at, step)
            self.inserted.add(join_path(place.scope, step["id"]))

    def _behind(self, where: str, place: _Place, step: Document) -> int | None:
        before = place.step
        if isinstance(before.get("next"), dict) or before.get("decision"):
            self.refuse(
                where,
                f"step {before['id']!r} chooses what follows it",
                "insert `before` one of the steps that it may choose",
            )
            return None
        if "next" not in step and before.get("next") is not None:
            step["next"] = before["next"]
        before["next"] = step["id"]
        return place.index + 1

    def _replace(self, where: str, change: Mapping[str, Any]) -> None:
        step = self._step(where, change["replace"])
        if step is None:
            return
        place = self._place(where, change.get("at", step["id"]))
        if place is None:
            return
        if place.step["id"] != step["id"]:
            self.refuse(where, f"the step at {place.key!r} is not called {step['id']!r}")
            return
        self._check_untouched(where, place)
        if "next" not in step and place.step.get("next") is not None:
            step["next"] = place.step["next"]
        place.steps[place.index] = step

    def _remove(self, where: str, name: Any) -> None:
        place = self._place(where, name)
        if place is None:
            return
        count = len(self.findings)
        self._check_untouched(where, place)
        self._check_removable(where, place)
        if len(self.findings) > count:
            return
        gone = place.steps.pop(place.index)
        for step in place.steps:
            if step.get("next") == gone["id"]:
                step.pop("next")
                if gone.get("next") is not None:
                    step["next"] = gone["next"]
        self.inserted.discard(place.key)

    def _check_removable(self, where: str, place: _Place) -> None:
        step, own = place.step, place.step["id"]
        if step.get("decision") or isinstance(step.get("next"), dict):
            self.refuse(where, f"step {own!r} chooses what follows it, so nobody knows what would")
        elif len(place.steps) == 1:
            self.refuse(where, f"step {own!r} is all that there is in its scope")
        elif place.index == 0 and step.get("next") != place.steps[1]["id"]:
            self.refuse(
                where,
                f"its scope begins with {own!r}, and would begin with {place.steps[1]['id']!r}, "
                f"which does not follow it",
            )
        if step.get("next") == own:
            self.refuse(where, f"step {own!r} follows itself")
        for other in place.steps:
            for _, _, label in _references(other, own):
                if label != "next":
                    self.refuse(where, f"`{label}` of step {other['id']!r} leads to it")
        handlers = self.document.get("errorHandlers", []) if not place.scope else []
        if any(handler.get("handler") == own for handler in handlers):
            self.refuse(where, f"step {own!r} is an error handler")

    # --- small things ----------------------------------------------------------------------------

    def _check_untouched(self, where: str, place: _Place) -> None:
        if place.key in self.inserted:
            return
        status = self.standing.entered.get(place.key)
        if status is not None:
            self.refuse(where, f"step {place.key!r} was entered already: it is {status}")
        elif place.key not in self.standing.ahead:
            self.refuse(where, f"the execution does not come to step {place.key!r} any more")

    def _step(self, where: str, given: Any) -> Document | None:
        """A step as it is written down; one that is none yet is left to the validator."""
        if not isinstance(given, Mapping) or not isinstance(given.get("id"), str):
            self.refuse(where, "a step is an object with an `id`")
            return None
        try:
            model = WorkflowStep.model_validate(given)
        except ValidationError:
            return copy.deepcopy(dict(given))
        return model.model_dump(mode="json", by_alias=True, exclude_defaults=True)

    def _place(self, where: str, name: Any) -> _Place | None:
        found = list(self._places(name))
        if len(found) == 1:
            return found[0]
        if not found:
            self.refuse(where, f"there is no step {name!r}")
        else:
            keys = ", ".join(place.key for place in found)
            self.refuse(where, f"{name!r} is {len(found)} steps", f"name it by its path: {keys}")
        return None

    def _places(self, name: Any) -> Iterator[_Place]:
        every = [
            _Place(join_path(scope, str(step.get("id"))), scope, steps, index)
            for scope, steps in _scopes("", self.document["steps"])
            for index, step in enumerate(steps)
        ]
        exact = [place for place in every if place.key == name]
        yield from exact or (place for place in every if place.step.get("id") == name)


def _ahead_of(place: _Place, step: Document) -> int:
    target = place.step["id"]
    for other in place.steps:
        for holder, name, _ in list(_references(other, target)):
            holder[name] = step["id"]
    step.setdefault("next", target)
    return place.index


def _scopes(key: str, steps: Any) -> Iterator[tuple[str, list[Document]]]:
    """Every list of steps, with the key of its scope; what has another shape is left out."""
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        return
    yield key, steps
    for step in steps:
        own = join_path(key, str(step.get("id")))
        parallel, inner = step.get("parallel"), step.get("loop") or step.get("map")
        if isinstance(parallel, dict) and isinstance(parallel.get("branches"), list):
            for number, branch in enumerate(parallel["branches"]):
                if isinstance(branch, dict):
                    yield from _scopes(f"{own}/{number}", branch.get("steps"))
        if isinstance(inner, dict) and inner.get("steps") is not None:
            yield from _scopes(own, inner["steps"])


def _references(step: Document, target: str) -> Iterator[tuple[Document, str, str]]:
    """Each place in a step that names ``target``: what holds it, under which name, its label."""
    holders: list[tuple[Any, str, str]] = [(step, "next", "next"), (step, "onError", "onError")]
    holders.append((step.get("event"), "onTimeout", "onTimeout"))
    for name in ("next", "decision"):
        chosen = step.get(name)
        if isinstance(chosen, dict):
            branches = chosen.get("branches")
            values = list(branches) if isinstance(branches, dict) else []
            holders += [(branches, value, f"{name}.branches.{value}") for value in values]
            holders.append((chosen, "default", f"{name}.default"))
    actions = step.get("onError")
    for action in actions if isinstance(actions, list) else [actions]:
        holders.append((action, "next", "onError"))
    for holder, name, label in holders:
        if isinstance(holder, dict) and holder.get(name) == target:
            yield holder, name, label
