"""What is different between two executions: definition, input, variables, steps, output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

NESTED = ("loop", "map")
"""Fields of a step that hold steps of their own, compared under paths of their own."""


@dataclass(frozen=True)
class Side:
    """One execution, as far as it is compared. ``steps``: path -> how its step ended."""

    id: str
    workflow: str
    version: str
    status: str
    input: Any
    variables: Mapping[str, Any]
    output: Any
    error: Mapping[str, Any] | None
    duration_ms: int
    definition: Mapping[str, Any]
    steps: Mapping[str, StepSide]


@dataclass(frozen=True)
class StepSide:
    status: str
    attempts: int
    duration_ms: int | None
    output: Any
    error: Mapping[str, Any] | None


@dataclass(frozen=True)
class Change:
    """``a`` and ``b`` at a place of a value; ``only``: it is in one of them alone."""

    at: str
    a: Any = None
    b: Any = None
    only: str | None = None


@dataclass(frozen=True)
class StepChange:
    """A step of both, or (``only``) of one. Values are (a, b); `same` is not about durations."""

    path: str
    only: str | None
    status: tuple[str | None, str | None]
    attempts: tuple[int, int]
    duration_ms: tuple[int | None, int | None]
    output: list[Change] = field(default_factory=list)
    error: list[Change] = field(default_factory=list)

    @property
    def same(self) -> bool:
        return (
            self.only is None
            and self.status[0] == self.status[1]
            and self.attempts[0] == self.attempts[1]
            and not self.output
            and not self.error
        )


@dataclass(frozen=True)
class Difference:
    """All that differs. Ids, instants and durations are told, but make no difference."""

    a: str
    b: str
    workflow: tuple[str, str]
    version: tuple[str, str]
    status: tuple[str, str]
    duration_ms: tuple[int, int]
    definition: list[Change]
    input: list[Change]
    variables: list[Change]
    steps: list[StepChange]
    output: list[Change]
    error: list[Change]

    @property
    def same(self) -> bool:
        pairs = (self.workflow, self.version, self.status)
        lists = (self.definition, self.input, self.variables, self.output, self.error)
        return all(a == b for a, b in pairs) and not any(lists) and all(s.same for s in self.steps)

    def as_dict(self) -> dict[str, Any]:
        found = asdict(self)
        for step, told in zip(self.steps, found["steps"], strict=True):
            told["same"] = step.same
        return {"same": self.same, **found}


def compare(a: Side, b: Side) -> Difference:
    return Difference(
        a=a.id,
        b=b.id,
        workflow=(a.workflow, b.workflow),
        version=(a.version, b.version),
        status=(a.status, b.status),
        duration_ms=(a.duration_ms, b.duration_ms),
        definition=list(_definitions(a.definition, b.definition)),
        input=list(values(a.input, b.input)),
        variables=list(values(dict(a.variables), dict(b.variables))),
        steps=[
            _step(path, a.steps.get(path), b.steps.get(path)) for path in {**a.steps, **b.steps}
        ],
        output=list(values(a.output, b.output)),
        error=list(values(_told(a.error), _told(b.error))),
    )


def values(a: Any, b: Any, at: str = "$") -> Iterator[Change]:
    """The places at which two JSON values differ, as far down as they are of one shape."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in {**a, **b}:
            place = f"{at}.{key}"
            if key not in b:
                yield Change(place, a=a[key], only="a")
            elif key not in a:
                yield Change(place, b=b[key], only="b")
            else:
                yield from values(a[key], b[key], place)
    elif isinstance(a, list) and isinstance(b, list):
        for index in range(max(len(a), len(b))):
            place = f"{at}[{index}]"
            if index >= len(b):
                yield Change(place, a=a[index], only="a")
            elif index >= len(a):
                yield Change(place, b=b[index], only="b")
            else:
                yield from values(a[index], b[index], place)
    elif a != b or isinstance(a, bool) is not isinstance(b, bool):
        yield Change(at, a, b)


def _definitions(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Change]:
    """Step by step: a step that is in one alone, or what of it differs; then all else."""
    mine, theirs = dict(flat_steps(a)), dict(flat_steps(b))
    for path in {**mine, **theirs}:
        if path not in theirs:
            yield Change(path, a=mine[path], only="a")
        elif path not in mine:
            yield Change(path, b=theirs[path], only="b")
        else:
            yield from values(mine[path], theirs[path], path)
    mine, theirs = ({k: v for k, v in side.items() if k != "steps"} for side in (a, b))
    yield from values(mine, theirs)


def flat_steps(definition: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """(path, step without the steps within it) of each step, as a plan names them."""
    for step in definition.get("steps") or ():
        path = f"{above}/{step['id']}" if above else step["id"]
        own = dict(step)
        inner: list[tuple[str, Mapping[str, Any]]] = []
        if "parallel" in own:
            branches = own["parallel"].get("branches", ())
            inner += [(f"{path}/{number}", branch) for number, branch in enumerate(branches)]
            bare = [{k: v for k, v in branch.items() if k != "steps"} for branch in branches]
            own["parallel"] = {**own["parallel"], "branches": bare}
        for kind in NESTED:
            if kind in own:
                inner.append((path, own[kind]))
                own[kind] = {k: v for k, v in own[kind].items() if k != "steps"}
        yield path, own
        for scope, holder in inner:
            yield from flat_steps(holder, scope)


def _step(path: str, a: StepSide | None, b: StepSide | None) -> StepChange:
    return StepChange(
        path=path,
        only=None if a and b else "a" if a else "b",
        status=(a.status if a else None, b.status if b else None),
        attempts=(a.attempts if a else 0, b.attempts if b else 0),
        duration_ms=(a.duration_ms if a else None, b.duration_ms if b else None),
        output=list(values(a.output, b.output)) if a and b else [],
        error=list(values(_told(a.error), _told(b.error))) if a and b else [],
    )


def _told(error: Mapping[str, Any] | None) -> Any:
    """An error without the id of the child in which it happened."""
    return None if error is None else {k: v for k, v in error.items() if k != "child"}
