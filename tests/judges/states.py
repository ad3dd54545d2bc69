"""A definition as Amazon States Language, and what moto's interpreter makes of it.

The shared part of both languages: task, decision, condition, wait, parallel, map, retry, catch,
variables of the outermost scope, cycles. moto interprets States Language in threads of this
process; its calls of Lambda functions and its clock are played here.
"""

from __future__ import annotations

import copy
import json
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl
from moto.stepfunctions.parser.asl.component.common.string.string_expression import (
    StringVariableSample,
)
from moto.stepfunctions.parser.asl.component.eval_component import EvalComponent
from moto.stepfunctions.parser.asl.component.state.exec.state_task import lambda_eval_utils
from moto.stepfunctions.parser.asl.component.state.wait.wait_function import wait_function
from moto.stepfunctions.parser.asl.eval.evaluation_details import (
    AWSExecutionDetails,
    EvaluationDetails,
    ExecutionDetails,
    StateMachineDetails,
)
from moto.stepfunctions.parser.asl.eval.program_state import ProgramError
from moto.stepfunctions.parser.backend.execution_worker import SyncExecutionWorker
from moto.stepfunctions.parser.utils import TMP_THREADS

from tests.conftest import wait_for

Step = dict[str, Any]
States = dict[str, dict[str, Any]]

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:work"
NO_CHOICE = "States.Runtime"
"""What moto says where no rule of a choice fits and it has no default: it stumbles over its own
assertion. By the specification it is `States.NoChoiceMatched`."""


# --- translation ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A path with a place for each index and each lap, and the variables that hold those."""

    at: str = ""
    variables: tuple[str, ...] = ()

    def inside(self, at: str, *variables: str) -> Place:
        return Place(self.at + at, (*self.variables, *variables))

    def parameters(self) -> dict[str, Any]:
        held = {f"{k:02}.$": f"${name}" for k, name in enumerate(self.variables)}
        laps = [f"{k:02}" for k, name in enumerate(self.variables) if name.startswith("lap_")]
        return {"at": self.at, "laps": laps, **held}


def to_states(definition: Mapping[str, Any]) -> dict[str, Any]:
    """A definition with the result ``{last, error, v...}`` as a state machine."""
    names = sorted(set(definition["result"]) - {"last", "error"})
    machine = _machine(definition["steps"], Place())
    assign = {"nil": None, "taken": None, **dict.fromkeys(names)}
    states = machine["States"]
    states["begin"] = {"Type": "Pass", "Assign": assign, "Next": machine["StartAt"]}
    last = {"last.$": "$", "error.$": "$taken", **{f"{name}.$": f"${name}" for name in names}}
    states["finish"] = {"Type": "Pass", "Parameters": last, "End": True}
    for state in states.values():
        if state.pop("End", False):
            state["Next"] = "finish"
    del states["finish"]["Next"]
    states["finish"]["End"] = True
    return {"StartAt": "begin", "States": states}


def _machine(steps: list[Step], place: Place, assign: Mapping[str, Any] | None = None) -> Any:
    """The states of a scope. It begins without an output; in States Language, with its input."""
    own, cycle = f"in_{steps[0]['id']}", _cycle(steps)
    states: States = {
        f"{own}_empty": {"Type": "Pass", "InputPath": "$nil", "Next": _first(steps[0])}
    }
    entry: dict[str, Any] = {"Type": "Pass", "Next": f"{own}_empty"}
    entry["Assign"] = {"lap_" + steps[0]["id"]: 1, **(assign or {})}
    states[own] = entry
    for step in steps:
        own_place = place.inside(step["id"])
        if steps.index(step) in cycle:
            own_place = own_place.inside("{}", "lap_" + steps[0]["id"])
        states |= _translate(step, steps, own_place)
    return {"StartAt": own, "States": states}


def _cycle(steps: list[Step]) -> range:
    """Numbers of the steps that a `next` leads back over; there is at most one such `next`."""
    ids = [step["id"] for step in steps]
    for number, step in enumerate(steps):
        if isinstance(step.get("next"), dict):
            return range(ids.index(step["next"]["branches"]["1"]), number + 1)
    return range(0)


def _first(step: Step) -> str:
    return f"if_{step['id']}" if "condition" in step else step["id"]


def _translate(step: Step, steps: list[Step], place: Place) -> States:
    own, following = step["id"], step.get("next")
    named = {each["id"]: _first(each) for each in steps}
    states: States = {}
    go_on: dict[str, Any] = {"End": True}
    if isinstance(following, dict):
        states |= _back(own, following, named, "lap_" + steps[0]["id"])
        go_on = {"Next": f"next_{own}"}
    elif following is not None:
        go_on = {"Next": named[following]}
    if "condition" in step:
        rule = {"Variable": _variable(step["condition"]), "BooleanEquals": True, "Next": own}
        states[f"if_{own}"] = {"Type": "Choice", "Choices": [rule], "Default": f"skip_{own}"}
        states[f"skip_{own}"] = {"Type": "Pass", **go_on}
    more: dict[str, Any] = {}
    if "onError" in step:
        more["Catch"] = [
            {
                "ErrorEquals": _errors(action["errors"]),
                "Next": named[action["next"]],
                "ResultPath": None,
                **({"Assign": {"taken.$": "$.Error"}} if "/" not in place.at else {}),
            }
            for action in step["onError"]
        ]
    if "output" in step:
        more["Assign"] = {f"{name}.$": "$.n" for name in step["output"]}
    match step.get("type", "task"):
        case "task":
            if "retry" in step:
                more["Retry"] = _retry(step["retry"])
            task = {"Type": "Task", "Resource": FUNCTION, "Parameters": place.parameters()}
            states[own] = {**task, **more, **go_on}
        case "wait":
            seconds = step["wait"]["duration"] // 1000
            states[own] = {"Type": "Wait", "Seconds": seconds, "Next": f"waited_{own}"}
            states[f"waited_{own}"] = {"Type": "Pass", "InputPath": "$nil", **go_on}
        case "decision":
            chosen = step["decision"]
            rules = [
                {"Variable": _variable(chosen["expression"]), "NumericEquals": int(value),
                 "Next": named[target]}
                for value, target in chosen["branches"].items()
            ]  # fmt: skip
            default = chosen.get("default") or following
            states[own] = {"Type": "Choice", "Choices": rules}
            if default:
                states[own]["Default"] = named[default]
        case "parallel":
            branches = step["parallel"]["branches"]
            states[own] = {
                "Type": "Parallel",
                "Branches": [
                    _machine(branch["steps"], place.inside(f"/{number}/"))
                    for number, branch in enumerate(branches)
                ],
                "ResultSelector": _joined(len(branches)),
                **more,
                **go_on,
            }
        case "map":
            index = f"index_{own}"
            states[own] = {
                "Type": "Map",
                "ItemsPath": step["map"]["items"].replace("$.input", "$$.Execution.Input"),
                "MaxConcurrency": step["map"]["maxConcurrency"],
                "ItemSelector": {"index.$": "$$.Map.Item.Index"},
                "ItemProcessor": {
                    "ProcessorConfig": {"Mode": "INLINE"},
                    **_machine(
                        step["map"]["steps"],
                        place.inside("[{}]/", index),
                        {f"{index}.$": "$.index"},
                    ),
                },
                "ResultSelector": _joined("States.ArrayLength($)"),
                **more,
                **go_on,
            }
    return states


def _back(own: str, following: Mapping[str, Any], named: Mapping[str, str], lap: str) -> States:
    (target,) = following["branches"].values()
    again = {"Variable": "$.n", "NumericEquals": 1, "Next": f"again_{own}"}
    choice = {"Type": "Choice", "Choices": [again], "Default": named[following["default"]]}
    count = {f"{lap}.$": f"States.MathAdd(${lap}, 1)"}
    return {
        f"next_{own}": choice,
        f"again_{own}": {"Type": "Pass", "Assign": count, "Next": named[target]},
    }


def _joined(total: int | str) -> dict[str, Any]:
    """The output of a `parallel` or `map` in which nothing failed."""
    key = "{}.$" if isinstance(total, str) else "{}"
    counted = {key.format("total"): total, key.format("succeeded"): total}
    counts = {**counted, "failed": 0, "cancelled": 0}
    return {"results.$": "$", "counts": counts, "failures": [], "reason": "all"}


def _variable(expression: str) -> str:
    """`$.input.flag`, `$.variables.v` or `$.output.n`, which are all that is generated."""
    if expression.startswith("$.input"):
        return expression.replace("$.input", "$$.Execution.Input")
    return expression.replace("$.variables.", "$").replace("$.output", "$")


def _errors(names: list[str]) -> list[str]:
    return ["States.ALL"] if names == ["*"] else names


def _retry(policy: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`maxAttempts` counts the first one, too; what must not be tried again is looked at first."""
    found: list[dict[str, Any]] = []
    if policy.get("abortOn"):
        found.append({"ErrorEquals": policy["abortOn"], "MaxAttempts": 0})
    again: dict[str, Any] = {
        "ErrorEquals": _errors(policy.get("retryOn", ["*"])),
        "IntervalSeconds": policy["interval"] // 1000,
        "BackoffRate": float(policy.get("backoffRate", 1)),
        "MaxAttempts": policy["maxAttempts"] - 1,
    }
    if "maxInterval" in policy:
        again["MaxDelaySeconds"] = policy["maxInterval"] // 1000
    return [*found, again]


# --- interpretation ------------------------------------------------------------------------


@dataclass
class Verdict:
    """What moto made of it. ``calls``: (path, attempt) in the order in which they began."""

    status: str = ""
    output: Any = None
    error: str | None = None
    calls: list[tuple[str, int]] = field(default_factory=list)
    pauses: list[int] = field(default_factory=list)


def _is_left(thread: threading.Thread) -> bool:
    """Whether a branch has ended, or was given the time to: some wait for ever for one that was
    stopped. False: it has not begun; it is on moto's list before that."""
    try:
        thread.join(0.3)
    except RuntimeError:
        return False
    return True


class Judge:
    """moto's interpreter; a function fails as often as the mocks of a simulation say."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.verdict = Verdict()
        self.mocks: Mapping[str, Any] = {}

    def run(self, machine: Mapping[str, Any], input: Any, mocks: Mapping[str, Any]) -> Verdict:
        self.verdict, self.mocks = Verdict(), mocks
        worker = SyncExecutionWorker(
            EvaluationDetails(
                AWSExecutionDetails("123456789012", "us-east-1", "role"),
                ExecutionDetails("execution", "execution", "role", input, "2020-01-01T00:00:00Z"),
                StateMachineDetails("machine", "machine", "STANDARD", json.dumps(machine)),
            ),
            SimpleNamespace(terminated=lambda: None),
            None,
            {},
        )
        worker.start()
        while TMP_THREADS:  # branches that were stopped are not to speak in the next case
            thread = TMP_THREADS.pop()
            wait_for(partial(_is_left, thread))
        state = worker.env.program_state()
        verdict = self.verdict
        verdict.status = "failed" if isinstance(state, ProgramError) else "completed"
        if isinstance(state, ProgramError):
            verdict.error = state.error["error"]
        else:
            verdict.output = worker.env.states.get_input()
        return verdict

    def invoke(self, parameters: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        """A call of a Lambda function."""
        given = json.loads(parameters["Payload"])
        held = [
            ("" if given[key] == 1 else f"#{given[key]}") if key in given["laps"] else given[key]
            for key in sorted(given)
            if key.isdigit()
        ]
        path = given["at"].format(*held)
        with self.lock:
            attempt = 1 + sum(known == path for known, _ in self.verdict.calls)
            assert attempt < 100, f"{path} is called for ever"
            self.verdict.calls.append((path, attempt))
        own = path.rpartition("/")[2].partition("#")[0]
        fails = self.mocks["fail"].get(path, self.mocks["fail"].get(own, 0))
        if attempt <= fails:
            name = self.mocks["errors"][own]
            return {"FunctionError": "Unhandled", "Payload": {"errorType": name}}
        return {"Payload": self.mocks["outputs"].get(path, self.mocks["outputs"][own])}

    def pause(self, seconds: float) -> None:
        with self.lock:
            self.verdict.pauses.append(round(seconds * 1000))


def read_variable(sample: Any, env: Any) -> None:
    """moto asks JSONata on a JVM for it, even where a variable is all that is read."""
    env.stack.append(copy.deepcopy(env.variable_store.get(sample.expression.removeprefix("$"))))


def key_of_counter(component: EvalComponent) -> str:
    """moto makes it when it is first asked for: two threads would each make one, and count anew."""
    return str(id(component))


@contextmanager
def judge() -> Iterator[Judge]:
    """A judge; while it is there, moto neither waits nor calls anything."""
    found = Judge()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lambda_eval_utils, "_invoke_lambda_function", found.invoke)
        patch.setattr(retrier_decl, "time", SimpleNamespace(sleep=found.pause))
        patch.setattr(
            wait_function.WaitFunction, "_wait_interval", lambda self, env, wait_seconds: None
        )
        patch.setattr(StringVariableSample, "_eval_body", read_variable)
        patch.setattr(EvalComponent, "heap_key", property(key_of_counter))
        logging.disable(logging.CRITICAL)
        try:
            yield found
        finally:
            logging.disable(logging.NOTSET)
