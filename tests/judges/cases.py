"""Random workflows of the part that the engine shares with States Language.

Which of several failures comes first is open in both, so that at most one branch, or item, of
each `parallel` and `map` may fail for good.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

INPUT = {"yes": True, "no": False, "n": 1, "none": [], "one": [7], "three": [1, 2, 3]}
ERRORS = ["Red", "Green", "Blue"]
VARIABLES = ["v1", "v2"]
MOST_STEPS = 8
"""No more scopes are opened behind so many steps."""


@dataclass
class Case:
    definition: dict[str, Any]
    mocks: dict[str, Any]


@dataclass
class Scope:
    """``paths``: where it may stand. ``weak``: the one of them at which steps may fail."""

    depth: int
    paths: list[str]
    weak: str | None
    cycles: bool = True

    @property
    def outermost(self) -> bool:
        return self.paths == [""]


@dataclass
class Author:
    """Writes a workflow."""

    random: Random
    outputs: dict[str, Any] = field(default_factory=dict)
    fail: dict[str, int] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    count: int = 0

    def case(self) -> Case:
        steps = self.scope(Scope(3, [""], ""))
        result = {"last": "$.output", "error": "$.error.name"}
        result |= {name: f"$.variables.{name}" for name in VARIABLES}
        mocks = {"outputs": self.outputs, "fail": self.fail, "errors": self.errors}
        return Case({"name": "judged", "steps": steps, "result": result}, mocks)

    def chance(self, of: int) -> bool:
        return self.random.randrange(of) == 0

    def scope(self, scope: Scope) -> list[dict[str, Any]]:
        ids = []
        for _ in range(self.random.randint(1, 4)):
            self.count += 1
            ids.append(f"s{self.count}")
        back = range(0)
        if scope.cycles and len(ids) > 1 and self.chance(4):
            last = self.random.randrange(len(ids) - 1)
            back = range(self.random.randint(0, last), last + 1)
        steps = []
        for number in range(len(ids)):
            inner = Scope(scope.depth, scope.paths, scope.weak, scope.cycles)
            inner.cycles = scope.cycles and number not in back
            steps.append(self.step(inner, ids, number, back))
        return steps

    def step(self, scope: Scope, ids: list[str], number: int, back: range) -> dict[str, Any]:
        own, later = ids[number], ids[number + 1 :]
        step: dict[str, Any] = {"id": own}
        if later:
            step["next"] = later[0]
        turns = bool(back) and number == back[-1]
        kinds = ["task", "task", "task", "wait", *(["decision"] if later else [])]
        kinds += ["parallel", "map"] if scope.depth and self.count < MOST_STEPS else []
        kind = "task" if turns else self.random.choice(kinds)
        if turns:
            step["next"] = {
                "expression": "$.output.n",
                "branches": {"1": ids[back[0]]},
                "default": later[0],
            }
        elif self.chance(5):
            step["condition"] = self.random.choice(["$.input.yes", "$.input.no"])
        if later and kind not in ("decision", "wait") and self.chance(2):
            step["onError"] = self.actions(later)
        if kind != "task":
            step["type"] = kind
            getattr(self, kind)(step, scope, later)
        else:
            self.task(step, scope, turns)
        return step

    def actions(self, later: list[str]) -> list[dict[str, Any]]:
        named = {"errors": self.random.sample(ERRORS, 2), "next": self.random.choice(later)}
        every = {"errors": ["*"], "next": self.random.choice(later)}
        return self.random.choice([[named], [every], [named, every]])

    def task(self, step: dict[str, Any], scope: Scope, turns: bool) -> None:
        own = step["id"]
        step["capability"] = "work"
        self.outputs[own] = {"n": 1 if turns else self.random.randint(0, 3), "of": own}
        if turns:
            self.outputs |= {f"{path}{own}#2": {"n": 0, "of": own} for path in scope.paths}
        if scope.outermost and self.chance(2):
            step["output"] = {self.random.choice(VARIABLES): "$.output.n"}
        most = 1
        if self.chance(2):
            most = self.random.randint(1, 4)
            step["retry"] = {"maxAttempts": most, "interval": 1000 * self.random.randint(1, 3)}
            if self.chance(2):
                step["retry"]["backoffRate"] = self.random.choice([1.5, 2, 3])
            if self.chance(4):
                step["retry"]["maxInterval"] = 4000
        self.errors[own] = self.random.choice(ERRORS)
        self.fail[own] = self.random.randrange(most) if self.chance(2) else 0
        if scope.weak is None or not self.chance(3):
            return
        self.fail[scope.weak + own] = self.random.choice([1, 2, 9])
        if "retry" in step:
            self.fail[own] = 0  # elsewhere it would fail for good, too
            if self.chance(2):
                step["retry"]["retryOn"] = self.random.sample(ERRORS, 2)
            if self.chance(2):
                step["retry"]["abortOn"] = self.random.sample(ERRORS, 1)

    def wait(self, step: dict[str, Any], scope: Scope, later: list[str]) -> None:
        step["wait"] = {"duration": 1000 * self.random.randint(0, 100_000)}

    def decision(self, step: dict[str, Any], scope: Scope, later: list[str]) -> None:
        expression = "$.input.n"
        branches = {"1": self.random.choice(later), "2": self.random.choice(later)}
        step["decision"] = {"expression": expression, "branches": branches}
        if self.chance(2):
            branches.pop("1")
        if not self.chance(4):
            step["decision"]["default"] = self.random.choice(later)
        elif scope.outermost and self.chance(2):
            del step["next"]  # and nothing fits, perhaps

    def parallel(self, step: dict[str, Any], scope: Scope, later: list[str]) -> None:
        total = self.random.randint(1, 3)
        weak = self.random.randrange(total)
        step["parallel"] = {
            "branches": [
                {"steps": self.scope(self.below(scope, step, f"/{number}/", number == weak))}
                for number in range(total)
            ]
        }

    def map(self, step: dict[str, Any], scope: Scope, later: list[str]) -> None:
        items = self.random.choice(["none", "one", "three"])
        total = len(INPUT[items])  # type: ignore[arg-type]
        inner = self.below(scope, step, "[0]/", True)
        inner.paths = [
            f"{path}{step['id']}[{number}]/" for path in scope.paths for number in range(total)
        ]
        if scope.weak is not None and total:
            inner.weak = f"{scope.weak}{step['id']}[{self.random.randrange(total)}]/"
        step["map"] = {
            "items": f"$.input.{items}",
            "maxConcurrency": self.random.randint(1, 3),
            "steps": self.scope(inner),
        }

    def below(self, scope: Scope, step: dict[str, Any], way: str, weak: bool) -> Scope:
        way = step["id"] + way
        paths = [path + way for path in scope.paths]
        own = scope.weak + way if weak and scope.weak is not None else None
        return Scope(scope.depth - 1, paths, own, scope.cycles)


def case(seed: int) -> Case:
    return Author(Random(seed)).case()
