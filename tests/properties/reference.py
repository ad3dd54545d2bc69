"""What a workflow means, as a recursive interpreter that shares nothing with the engine.

Every step, branch and scope gives a `Run`: when it ended, with what, and the effects that it had
on its way, each with its instant. A join that is decided before a branch has ended drops what
that branch would have done later. Where two things at the same instant would decide in either
order, `Open` is raised: the case says nothing.
"""

from __future__ import annotations

import heapq
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Step = Mapping[str, Any]
COMPARE = {"<": operator.lt, ">=": operator.ge, "==": operator.eq}
FORM = re.compile(r"\$\.([\w.]+)(?: (<|>=|==) (\d+))?")


class Open(Exception):
    """Two things happen at once, and their order matters."""


class Failure(Exception):
    def __init__(self, name: str, data: Any = None) -> None:
        super().__init__(name)
        self.name, self.data = name, data


@dataclass(frozen=True)
class Effect:
    """An attempt that ended (``path``), or a variable that was set."""

    at: int
    path: str = ""
    attempt: int = 0
    variable: str = ""
    value: Any = None


@dataclass
class Run:
    at: int
    output: Any = None
    error: Failure | None = None
    effects: list[Effect] = field(default_factory=list)

    def do(self, *effects: Effect) -> None:
        self.effects += effects


@dataclass(frozen=True)
class Place:
    """Where a scope stands, and what its steps see besides their own outputs."""

    path: str
    variables: dict[str, Any]
    seen: Mapping[str, Any]
    error: Failure | None = None


@dataclass
class Reference:
    mocks: Mapping[str, Any]
    workflows: Mapping[str, Any] = field(default_factory=dict)

    def run(self, definition: Mapping[str, Any], input: Any, prefix: str = "", at: int = 0) -> Run:
        place = Place(prefix, {}, {"input": input})
        run = self.scope(definition["steps"], place, at, None, definition.get("errorHandlers", []))
        if run.error is None and "result" in definition:
            last = self.last_error
            seen = {"input": input, "variables": place.variables, "output": run.output}
            seen["error"] = {"name": last.name} if last else None
            run.output = {k: value(v, seen) for k, v in definition["result"].items()}
        self.variables = place.variables
        return run

    # --- a scope -----------------------------------------------------------------------------

    def scope(
        self, steps: list[Step], place: Place, at: int, output: Any, handlers: Any = ()
    ) -> Run:
        """Steps one after the other; a step back begins a lap."""
        ids = [step["id"] for step in steps]
        cycle = _cycle(steps, ids)
        run, lap, number, handled = Run(at, output), 1, 0, False
        while True:
            step = steps[number]
            path = place.path + step["id"] + (f"#{lap}" if number in cycle and lap > 1 else "")
            did, target = self.step(step, path, place, run)
            run.at = did.at
            run.do(*did.effects)
            if did.error is not None:
                target = next(
                    (a["next"] for a in step.get("onError", ()) if _takes(a["errors"], did.error)),
                    None,
                )
                if target is None:
                    handler = next((h for h in handlers if _takes([h["error"]], did.error)), None)
                    if handler is None or handled or handler["handler"] == step["id"]:
                        self.last_error = place.error
                        run.error = did.error
                        return run
                    target, handled = handler["handler"], True
                place = replace(place, error=did.error)
            else:
                run.output = did.output
            if target is None:
                self.last_error = place.error
                return run
            back = ids.index(target) <= number
            inside = number in cycle and ids.index(target) in cycle
            lap = lap + 1 if back and inside else lap if inside else 1
            number = ids.index(target)

    def step(self, step: Step, path: str, place: Place, before: Run) -> tuple[Run, str | None]:
        """One step, and the id of the one that follows if it goes well."""
        seen = {**place.seen, "variables": place.variables, "output": before.output}
        seen["error"] = {"name": place.error.name} if place.error else None
        run, following = Run(before.at, before.output), step.get("next")
        if "condition" in step and not value(step["condition"], seen):
            run.do(Effect(run.at, path, 1))
            return run, following
        kind = step.get("type", "task")
        try:
            if kind == "decision":
                run.do(Effect(run.at, path, 1))
                return run, choose(step["decision"], seen, following)
            getattr(self, kind)(step, path, replace(place, seen=seen), run)
            for name, expression in step.get("output", {}).items():
                found = value(expression, {**seen, "output": run.output})
                place.variables[name] = found
                run.do(Effect(run.at, variable=name, value=found))
            if isinstance(following, Mapping):
                return run, choose(following, {**seen, "output": run.output}, None)
        except Failure as failure:
            run.error = failure
            following = None
        return run, following

    # --- the types ---------------------------------------------------------------------------

    def task(self, step: Step, path: str, place: Place, run: Run) -> None:
        retry = step.get("retry", {"maxAttempts": 1})
        for attempt in range(1, 1000):
            run.at += self.mock("durations", path, 0)
            run.do(Effect(run.at, path, attempt))
            if attempt > self.mock("fail", path, 0):
                run.output = self.mock("outputs", path, None)
                return
            self.again(retry, attempt, Failure(self.mock("errors", path, "")), run)

    def again(self, retry: Mapping[str, Any], failures: int, failure: Failure, run: Run) -> None:
        """Wait for the next attempt, or fail."""
        tried = _takes(retry.get("retryOn", ["*"]), failure)
        if (
            failures >= retry["maxAttempts"]
            or failure.name in retry.get("abortOn", [])
            or not tried
        ):
            raise failure
        pause = retry.get("interval", 1000) * retry.get("backoffRate", 1) ** (failures - 1)
        run.at += int(min(pause, retry.get("maxInterval", pause)))

    def wait(self, step: Step, path: str, place: Place, run: Run) -> None:
        waited = step["wait"]
        if "poll" not in waited:
            run.at += waited["duration"]
            run.do(Effect(run.at, path, 1))
            run.output = None
            return
        asked, checks = waited["poll"], self.mock("polls", path, None)
        for check in range(1, asked["maxAttempts"] + 1):
            run.at += self.mock("durations", path, 0)
            run.do(Effect(run.at, path, check))
            if check <= self.mock("fail", path, 0):
                raise Failure(self.mock("errors", path, ""))
            run.output = checks[min(check, len(checks)) - 1]
            if value(waited["until"], {"state": run.output}):
                return
            run.at += int(asked["interval"] * asked["backoffRate"] ** (check - 1))
        run.at -= int(asked["interval"] * asked["backoffRate"] ** (asked["maxAttempts"] - 1))
        raise Failure("PollExhausted")

    def event(self, step: Step, path: str, place: Place, run: Run) -> None:
        run.do(Effect(run.at, path, 1))
        sent = step["event"].get("payload")
        run.output = sent if step["event"].get("action") == "emit" else self.mocks["events"][path]

    def loop(self, step: Step, path: str, place: Place, run: Run) -> None:
        loop, output = step["loop"], None
        for index in range(1000):
            seen = {**place.seen, "output": output, "index": index, "variables": place.variables}
            if index and "until" in loop and value(loop["until"], seen):
                break
            if "while" in loop and not value(loop["while"], seen):
                break
            if index >= loop.get("maxIterations", 1000):
                run.do(Effect(run.at, path, 1))
                raise Failure("MaxIterationsExceeded")
            inner = replace(place, path=f"{path}[{index}]/", seen={**place.seen, "index": index})
            did = self.scope(loop["steps"], inner, run.at, output)
            run.at = did.at
            run.do(*did.effects)
            if did.error is not None:
                run.do(Effect(run.at, path, 1))
                raise did.error
            output = did.output
        run.do(Effect(run.at, path, 1))
        run.output = output

    def subworkflow(self, step: Step, path: str, place: Place, run: Run) -> None:
        retry = step.get("retry", {"maxAttempts": 1})
        for attempt in range(1, 1000):
            child = type(self)(self.mocks, self.workflows)
            given = value(step.get("input"), place.seen)
            did = child.run(self.workflows[step["subworkflow"]], given, f"{path}/", run.at)
            run.at = did.at
            run.do(
                *(effect for effect in did.effects if effect.path), Effect(run.at, path, attempt)
            )
            if did.error is None:
                run.output = did.output
                return
            self.again(retry, attempt, Failure(did.error.name), run)

    def parallel(self, step: Step, path: str, place: Place, run: Run) -> None:
        branches, join = step["parallel"]["branches"], step["parallel"].get("join", "all")
        total = len(branches)
        need = {"all": 0, "any": 1, "quorum": total // 2 + 1}.get(str(join))
        need = join["atLeast"] if need is None else need
        ends = []
        for number, branch in enumerate(branches):
            inner = replace(place, path=f"{path}/{number}/", variables=dict(place.variables))
            ends.append(self.scope(branch["steps"], inner, run.at, None))
        self.join(step["parallel"], ends, need, path, place, run)

    def map(self, step: Step, path: str, place: Place, run: Run) -> None:
        mapped = step["map"]
        items = value(mapped["items"], place.seen)
        if not isinstance(items, list):
            run.do(Effect(run.at, path, 1))
            raise Failure("InvalidItems")
        lanes = [run.at] * mapped["maxConcurrency"]
        ends = []
        for number, item in enumerate(items):
            seen = {**place.seen, "item": item, "index": number}
            inner = replace(
                place, path=f"{path}[{number}]/", seen=seen, variables=dict(place.variables)
            )
            did = self.scope(mapped["steps"], inner, heapq.heappop(lanes), None)
            if did.error is None and "collect" in mapped:
                did.output = value(mapped["collect"], {**seen, "output": did.output})
            heapq.heappush(lanes, did.at)
            ends.append(did)
        self.join(mapped, ends, 0, path, place, run)

    def join(
        self, of: Mapping[str, Any], ends: list[Run], need: int, path: str, place: Place, run: Run
    ) -> None:
        total, tolerate = len(ends), of.get("tolerate")
        tolerated = -1 if need else 0
        if tolerate is not None:
            share = int(total * tolerate.get("percentage", 0) / 100)
            tolerated = tolerate.get("count", share)
        reason, ended, ok, bad = "all", [], 0, 0
        by_end = sorted(range(total), key=lambda number: ends[number].at)
        for number in by_end:
            ended.append(number)
            ok, bad = ok + (ends[number].error is None), bad + (ends[number].error is not None)
            run.at = max(run.at, ends[number].at)
            if 0 <= tolerated < bad:
                reason = "tolerance exceeded" if tolerate else "cannot succeed any more"
            elif need and total - bad < need:
                reason = "cannot succeed any more"
            elif need and ok >= need:
                reason = "enough succeeded" if ok + bad < total else "all"
            elif ok + bad < total:
                continue
            break
        for number in by_end if reason != "all" else ():
            at_once = {ends[number].at, *(effect.at for effect in ends[number].effects)}
            if number != ended[-1] and run.at in at_once:
                raise Open
        effects = [effect for end in ends for effect in end.effects if effect.at <= run.at]
        effects.sort(key=lambda effect: effect.at)
        for effect in effects:
            if effect.variable:
                place.variables[effect.variable] = effect.value
        run.do(*effects, Effect(run.at, path, 1))
        failures = [n for n in sorted(ended) if ends[n].error is not None]
        results = [
            ends[n].output if n in ended and n not in failures else None for n in range(total)
        ]
        counts = {"total": total, "succeeded": ok, "failed": bad, "cancelled": total - ok - bad}
        run.output = {
            "results": results,
            "failures": [{"index": n, "error": ends[n].error.name} for n in failures],  # type: ignore[union-attr]
            "counts": counts,
            "reason": reason,
        }
        if reason in ("tolerance exceeded", "cannot succeed any more"):
            first = ends[failures[0]].error
            assert first is not None
            plain = not need and tolerate is None
            exceeded = "ToleranceExceeded" if reason.startswith("tol") else "NotEnoughSucceeded"
            raise Failure(first.name if plain else exceeded)

    def mock(self, kind: str, path: str, otherwise: Any) -> Any:
        own = path.rpartition("/")[2].partition("#")[0]
        found = self.mocks.get(kind, {})
        return found.get(path, found.get(own, otherwise))


def _takes(names: list[str], failure: Failure) -> bool:
    return "*" in names or failure.name in names


def _cycle(steps: list[Step], ids: list[str]) -> range:
    for number, step in enumerate(steps):
        following = step.get("next")
        if isinstance(following, Mapping):
            back = min(ids.index(each) for each in following["branches"].values())
            return range(back, number + 1) if back <= number else range(0)
    return range(0)


def choose(choice: Mapping[str, Any], seen: Mapping[str, Any], otherwise: str | None) -> str:
    found = value(choice["expression"], seen)
    text = "null" if found is None else str(found).lower() if found is True else str(found)
    target = choice["branches"].get(text, choice.get("default") or otherwise)
    if target is None:
        raise Failure("NoBranch")
    return str(target)


def value(given: Any, seen: Mapping[str, Any]) -> Any:
    """`$.a.b`, or that compared with a number; in objects and lists, too."""
    if isinstance(given, Mapping):
        return {name: value(each, seen) for name, each in given.items()}
    if isinstance(given, list):
        return [value(each, seen) for each in given]
    if not isinstance(given, str) or not given.startswith("$"):
        return given
    form = FORM.fullmatch(given)
    assert form is not None, given
    found: Any = dict(seen)
    for name in form[1].split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    if form[2]:
        return found is not None and COMPARE[form[2]](found, int(form[3]))
    return found
