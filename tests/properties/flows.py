"""Random workflows of all step types, with what their steps come to and how long they take."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.judges.cases import ERRORS, INPUT, Author, Case, Scope


@dataclass
class Flows(Author):
    """Anything may fail anywhere. Instants differ, so that what comes first is no accident."""

    events: dict[str, Any] = field(default_factory=dict)
    polls: dict[str, Any] = field(default_factory=dict)
    durations: dict[str, int] = field(default_factory=dict)
    workflows: dict[str, Any] = field(default_factory=dict)

    def case(self) -> Case:
        steps = self.scope(Scope(4, [""], None))
        result = {"last": "$.output", "error": "$.error.name", "v1": "$.variables.v1"}
        definition = {"name": "flow", "steps": steps}
        if self.chance(2):
            definition["result"] = result
        if self.chance(3):
            error = self.random.choice(["*", *ERRORS])
            definition["errorHandlers"] = [{"error": error, "handler": steps[-1]["id"]}]
        return Case(definition, self.mocks())

    def mocks(self) -> dict[str, Any]:
        kinds = ("outputs", "fail", "errors", "events", "polls", "durations")
        return {kind: getattr(self, kind) for kind in kinds}

    def step(self, scope: Scope, ids: list[str], number: int, back: range) -> dict[str, Any]:
        step = super().step(scope, ids, number, back)
        if "condition" in step and self.chance(3):
            step["condition"] = "$.output.n"
        plain = "type" not in step and not isinstance(step.get("next"), dict)
        if plain and self.chance(2):
            self.other(step, scope, self.random.randrange(5), number in back)
        return step

    def other(self, step: dict[str, Any], scope: Scope, kind: int, turns: bool) -> None:
        """Make something else of a task."""
        own = step["id"]
        deeper = scope.depth > 0 and self.count < 12
        task = {name: step.pop(name) for name in ("capability", "retry", "output") if name in step}
        outermost = scope.paths == [""] and not turns
        if kind == 0:
            self.poll(step)
        elif kind == 1 and deeper:
            self.loop(step, scope)
        elif kind == 2 and deeper:
            self.child(step, scope)
        elif kind == 3:
            sent = {"name": "told", "action": "emit", "payload": {"n": self.random.randint(0, 3)}}
            step |= {"type": "event", "event": sent}
        elif kind == 4 and outermost:
            step |= {"type": "event", "event": {"name": f"heard_{own}"}}
            self.events[own] = {"n": self.random.randint(0, 3)}
        else:
            step |= task

    def task(self, step: dict[str, Any], scope: Scope, turns: bool) -> None:
        super().task(step, scope, turns)
        own = step["id"]
        self.durations[own] = self.random.randint(1, 10**6)
        if self.chance(4):
            self.fail[own] = self.random.choice([1, 2, 9])
        if self.chance(6) and "retry" in step:
            step["retry"]["retryOn"] = self.random.sample(ERRORS, 2)
        for path in scope.paths[1:]:
            if self.chance(6):
                self.fail[path + own] = self.random.choice([0, 1, 9])

    def wait(self, step: dict[str, Any], scope: Scope, later: list[str]) -> None:
        step["wait"] = {"duration": self.random.randint(1, 10**6)}

    def decision(self, step: dict[str, Any], scope: Scope, later: list[str]) -> None:
        super().decision(step, scope, later)
        step["decision"]["expression"] = self.random.choice(["$.input.n", "$.output.n"])

    def poll(self, step: dict[str, Any]) -> None:
        own = step["id"]
        asked = {
            "capability": "ask",
            "interval": self.random.randint(1000, 50_000),
            "backoffRate": self.random.choice([1, 2]),
            "maxAttempts": self.random.randint(1, 4),
        }
        step |= {"type": "wait", "wait": {"poll": asked, "until": "$.state.n >= 2"}}
        self.polls[own] = [{"n": self.random.randint(0, 2)} for _ in range(3)]
        self.fail[own] = 0

    def loop(self, step: dict[str, Any], scope: Scope) -> None:
        loop: dict[str, Any] = {"maxIterations": self.random.randint(1, 3)}
        if self.chance(2):
            loop["while"] = f"$.index < {self.random.randint(0, 3)}"
        if "while" not in loop or self.chance(2):
            loop["until"] = self.random.choice(["$.output.n", "$.index >= 2"])
        loop["steps"] = self.scope(self.inside(scope, f"{step['id']}[0]/"))
        step |= {"type": "loop", "loop": loop}

    def child(self, step: dict[str, Any], scope: Scope) -> None:
        name = f"child_{step['id']}"
        steps = self.scope(self.inside(scope, f"{step['id']}/"))
        self.workflows[name] = {"name": name, "steps": steps, "result": {"of": "$.output"}}
        step |= {"type": "subworkflow", "subworkflow": name, "input": "$.input"}
        if self.chance(3):
            step["retry"] = {"maxAttempts": 2, "interval": 1000}

    def inside(self, scope: Scope, way: str) -> Scope:
        return Scope(scope.depth - 1, [path + way for path in scope.paths], None, False)

    def parallel(self, step: dict[str, Any], scope: Scope, later: list[str]) -> None:
        super().parallel(step, scope, later)
        of = step["parallel"]
        of["join"] = self.random.choice(["all", "all", "any", "quorum", {"atLeast": 1}])
        self.tolerate(of)

    def map(self, step: dict[str, Any], scope: Scope, later: list[str]) -> None:
        super().map(step, scope, later)
        if self.chance(8):
            step["map"]["items"] = "$.input.n"
        if self.chance(3):
            step["map"]["collect"] = self.random.choice(["$.item", "$.index", "$.output.n"])
        self.tolerate(step["map"])

    def tolerate(self, of: dict[str, Any]) -> None:
        if self.chance(3):
            count = {"count": self.random.randint(0, 3)}
            of["tolerate"] = self.random.choice([count, {"percentage": 50}])


def flow(seed: int) -> tuple[Case, dict[str, Any]]:
    author = Flows(Random(seed))
    case = author.case()
    return case, author.workflows


__all__ = ["INPUT", "flow"]
