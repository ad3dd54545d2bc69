"""What a simulation is told: what capabilities do, what comes from outside, what people decide."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from orch.errors import InputError
from orch.workflows.compensating import compensation_path, in_compensation
from orch.workflows.ladder import Pause, Rung
from orch.workflows.node import other_capability
from orch.workflows.plan import Plan
from orch.workflows.rungs import MARK, in_rung, rung_of, subject_of

T = TypeVar("T")


class Decision(BaseModel):
    """What somebody decides when asked about a step, or for an approval, and when."""

    model_config = ConfigDict(extra="forbid")

    decision: Literal["retry", "skip", "reroute", "compensate", "abort", "answer"] = "answer"
    output: JsonValue = None
    """Of `skip`: the output of the step."""
    answer: JsonValue = None
    """Of `answer`: the choice, the form, or both."""
    input: JsonValue = None
    """Of `retry`: an edited input."""
    to: str = ""
    """Of `reroute`: a step, or a capability."""
    after: Pause = 0
    """How long after being asked: ms, or `30s`, `2h`. If the rung ends before, it is too late."""
    by: str = "somebody"
    note: str = ""
    queue: str = ""
    """Only where this queue of the inbox is asked."""

    @property
    def value(self) -> Any:
        own = {"skip": self.output, "answer": self.answer, "retry": self.input}
        return own.get(self.decision)


class Mocks(BaseModel):
    """What the mocked capabilities do, by step id or by path; and what people decide.

    The work of a rung has a path, too; or it is named by the capability of its `fallback`.
    """

    model_config = ConfigDict(extra="forbid")

    outputs: dict[str, JsonValue] = Field(default_factory=dict)
    """Output of a step; null where none is given."""
    fail: dict[str, Annotated[int, Field(ge=0)] | str] = Field(default_factory=dict)
    """`always`, or how many of the first attempts fail (N, or `first N`)."""
    errors: dict[str, str] = Field(default_factory=dict)
    """Name of the error under which a step fails; without `fail`, it always does."""
    events: dict[str, JsonValue] = Field(default_factory=dict)
    """Payload of the event that comes, from outside, as soon as a step waits for it."""
    polls: dict[str, Annotated[list[JsonValue], Field(min_length=1)]] = Field(default_factory=dict)
    """What each check of a poll gives; the last one is given again."""
    durations: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    """How long an attempt takes, ms."""
    decisions: dict[str, list[Decision]] = Field(default_factory=dict)
    """What people decide about a step, one for each time that they are asked."""
    memory: dict[str, list[JsonValue]] = Field(default_factory=dict)
    """Records that a message rule finds in the memory, by the field that it adds, or by
    `RULE.FIELD`; none where it is not named."""

    def failure(self, names: Sequence[str], attempt: int) -> str | None:
        """Name of the error under which this attempt fails, if it does.

        ``names``: of the step, the nearest first, as `mock_names` gives them.
        """
        fails = found_in(self.fail, names)
        name = found_in(self.errors, names)
        if fails is None:
            return name
        first = None if fails == "always" else int(re.sub(r"^first ", "", str(fails)))
        return (name or "MockedFailure") if first is None or attempt <= first else None


KINDS = ("outputs", "events", "polls", "fail", "errors", "durations", "decisions")
"""Fields of `Mocks` whose keys name steps."""


def found_in(mocks: Mapping[str, T], names: Sequence[str]) -> T | None:
    """What the mocks say of the first of the names of which they say anything."""
    return next((mocks[name] for name in names if name in mocks), None)


def parse_mocks(
    mocks: Mapping[str, Any] | Mocks | None, plan: Plan, called: Sequence[Plan] = ()
) -> Mocks:
    """Check mocks against the steps of a plan, and of those that it calls.

    Raises InputError with all that is wrong.
    """
    try:
        parsed = mocks if isinstance(mocks, Mocks) else Mocks.model_validate(mocks or {})
    except ValidationError as exc:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in exc.errors()]
        raise InputError(
            "mocks are wrong: " + "; ".join(problems),
            hint=f"they are an object of {', '.join(f'`{each}`' for each in Mocks.model_fields)}",
        ) from exc
    known = {node.id for node in plan.nodes()} | _keys(plan)
    below = {node.id for each in called for node in each.nodes()}.union(*map(_keys, called))
    known |= below
    targets = {each.to for listed in parsed.decisions.values() for each in listed if each.to}
    problems = []
    for kind in KINDS:
        works = None if kind in ("events", "polls", "decisions") else targets
        for step in getattr(parsed, kind):
            name = re.sub(r"#\d+|\[\d+\]", "", step)
            if works is not None and _is_work((plan, *called), name, works):
                continue
            if name not in known and not any(name.endswith(f"/{each}") for each in below):
                near = difflib.get_close_matches(step, known, 1)
                guess = f"; did you mean {near[0]!r}?" if near else ""
                problems.append(f"`{kind}` names {step!r}, which is no step{guess}")
    problems += _unknown_memory(parsed, (plan, *called))
    problems += [
        f"`fail` of {step!r} is {value!r}; it is `always` or a count"
        for step, value in parsed.fail.items()
        if isinstance(value, str) and not re.fullmatch(r"always|(first )?\d+", value)
    ]
    if problems:
        raise InputError("mocks are wrong: " + "; ".join(problems))
    return parsed


def _unknown_memory(mocks: Mocks, plans: Sequence[Plan]) -> list[str]:
    found: set[str] = set()
    for plan in plans:
        for name in plan.remembered_fields():
            found |= {name, name.rpartition(".")[2]}
    return [
        f"`memory` names {name!r}, which no message rule takes from the memory; "
        f"those that do: {', '.join(sorted(found)) or 'none'}"
        for name in mocks.memory
        if name not in found
    ]


def mock_names(plan: Plan, path: str, shown: str) -> tuple[str, ...]:
    """The names by which mocks may name a step or a work, the nearest first.

    A compensation is not the step that it undoes; the work of a rung is the step only where the
    same capability tries again. ``shown``: the path with those of the steps that called it.
    """
    node = plan.node(path)
    if in_compensation(path):
        return shown, path
    if not in_rung(path):
        return shown, node.id
    head, _, own = shown.rpartition(MARK)
    place = f"{head}{MARK}{own.partition('#')[0]}"
    return shown, place, node.id if tries_again(plan, path) else node.capability


def tries_again(plan: Plan, path: str) -> bool:
    """Whether the work of a rung is another try of the step by its own capability."""
    name = rung_of(path)
    if name.capability:
        return False
    rung = plan.ladder(subject_of(path), name.ladder)[name.number - 1]
    return bool(rung.retry or rung.human)


def _is_work(plans: Sequence[Plan], name: str, capabilities: set[str]) -> bool:
    """Whether a name is that of the work of a rung, or of a capability that does such work."""
    subject, mark, own = name.rpartition(MARK)
    if not mark:
        return name in capabilities or any(name in _fallbacks(plan) for plan in plans)
    return any(
        _has_work(plan, f"{node.key}{MARK}{own}")
        for plan in plans
        for node in plan.nodes()
        if subject == node.key or subject.endswith(f"/{node.key}")
    )


def _has_work(plan: Plan, key: str) -> bool:
    try:
        plan.node(key)
    except (KeyError, IndexError):
        return False
    return True


def _fallbacks(plan: Plan) -> set[str]:
    """The capabilities that rungs of a plan fall back to."""
    ladders: list[Any] = [plan.definition.escalation, plan.escalations.ladder]
    ladders += [node.step.escalation for node in plan.nodes()]
    ladders += [path.ladder for path in plan.escalation_paths().values()]
    rungs: list[Rung] = [rung for ladder in ladders if isinstance(ladder, list) for rung in ladder]
    found = {rung.fallback.capability for rung in rungs if rung.fallback is not None}
    return found | {name for node in plan.nodes() if (name := other_capability(node))}


def _keys(plan: Plan) -> set[str]:
    """Where the steps of a plan stand, compensations included."""
    return {key for node in plan.nodes() for key in (node.key, compensation_path(node.key))}
