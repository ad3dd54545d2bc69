"""All that people and workers can do to an execution, in any order, and in the midst of each other.

As the machines of `test_control` and `test_migrating`, with reports, events and changes. In
`between`, one of them comes while another has read and has not yet written.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule, run_state_machine_as_test
from redis import Redis

from orch.control.external import ExternalTasks
from orch.errors import NotAllowed, NotFound, OrchError
from orch.journal import heads
from orch.journal.journal import Journal
from orch.settings import Settings
from orch.workflows.events import Occurrence
from orch.workflows.external import TaskId
from orch.workflows.state import ExecutionStatus, StepStatus
from tests.build import FakeClock, choose, decision, parallel, task, wait
from tests.conftest import LONG
from tests.test_control import DEFINITIONS, UNDO, hypothesis_settings
from tests.test_external import outside
from tests.test_migrating import Moved, Moving, listen

Step = dict[str, Any]
RETRY = {"maxAttempts": 2, "interval": 500}


def of(kind: str, step_id: str, next: Any = None, **given: Any) -> Step:
    return {"id": step_id, "type": kind, kind: given, "next": next}


def joined(join: Any, *branches: list[Step], next: Any = None, **more: Any) -> Step:
    step = parallel("p", *branches, next=next)
    step["parallel"] |= {"join": join, **more}
    return step


MORE: list[list[Step]] = [
    [
        outside("a", "p", retry=RETRY, compensate=UNDO),
        joined(
            "any",
            [outside("b", heartbeatTimeout=9000), task("b2")],
            [listen("e", timeout=20_000, onTimeout="t"), task("t")],
            [wait("w", 1500, "c"), task("c", retry=RETRY)],
            next="z",
        ),
        outside("z", timeout=30_000, onError="y"),
        task("y"),
    ],
    [
        of("map", "m", "l", items=[1, 2, 3, 4], maxConcurrency=2, tolerate={"count": 1},
           steps=[task("i", "j"), outside("j")]),
        of("loop", "l", "d", until="$.index >= 1", steps=[task("k", compensate=UNDO), ]),
        decision("d", "$.input.n", {"1": "x"}, default="y"),
        task("x"),
        task("y", choose("$.variables.v", {"1": "z"}, "z"), delivery="at_most_once"),
        listen("z", action="emit"),
    ],
    [
        joined(
            {"atLeast": 2},
            [task("a", "a2", compensate=UNDO), task("a2")],
            [task("b", retry=RETRY)],
            [outside("c", "c2"), wait("c2", 300)],
            [listen("e")],
            maxConcurrency=2,
            next="z",
        ),
        task("z"),
    ],
]  # fmt: skip

PEOPLE = (
    "pause", "resume", "retry", "cancel", "terminate", "skip", "complete", "fail", "heartbeat",
    "tell", "migrate", "modify", "pause_branch", "resume_branch",
)  # fmt: skip
ALL = (*PEOPLE, "finish", "come_late", "deliver", "look")
PAUSES = (0, 100, 1000, 5000, 61_000)  # ms


class Interrupted(Journal):
    """A journal at which something comes between what one reads and what it writes."""

    between: Callable[[], None] | None = None

    def run(self, script: str, **given: Any) -> Any:
        between = self.between
        if between is not None and script != "take_due":
            self.between = None
            between()
        return super().run(script, **given)


class Everything(Moving):
    """As `Moving`, with tasks that are done outside, events, and definitions that are changed."""

    @initialize(steps=st.sampled_from([*MORE, *MORE, *DEFINITIONS]))
    def begin(self, steps: list[Step]) -> None:
        super().begin(steps)
        self.first = self.worked.plan.definition.steps
        self.moved = Moved(self.worked)
        self.tasks = ExternalTasks(self.steered.verbs.runtime)
        self.told = 0
        self.inserted = 0

    def tries(self, act: Callable[[], Any]) -> None:
        """What is refused changes nothing, which the invariants see."""
        with suppress(OrchError):
            act()
        with suppress(NotFound):
            self.worked.plan = self.moved.plans.get(self.journal.record("x1").plan)

    # --- what gets it on

    @rule(pick=st.integers(0, 9), ok=st.sampled_from([True, True, False]))
    def work(self, pick: int, ok: bool) -> None:
        """A message comes, and is done with."""
        if self.worked.sent:
            before = len(self.held)
            self.deliver(pick, False)
            if len(self.held) > before:
                self.past.append(self.held[-1])
                self.settle(*self.held.pop(), ok)

    @rule(picks=st.lists(st.integers(0, 5), min_size=2, max_size=6))
    def fail_all(self, picks: list[int]) -> None:
        """So that retries and handlers have their turn, and the execution fails."""
        for pick in picks:
            self.work(pick, False)
            self.look(1000)

    @precondition(lambda self: self.claims > 1)
    @rule(grace=st.sampled_from([0.0, 2.0, 60.0]))
    def cancel(self, grace: float) -> None:
        self.tries(lambda: self.steered.verbs.cancel("x1", grace=grace))

    @precondition(lambda self: self.claims > 8)
    @rule()
    def terminate(self) -> None:
        self.steered.verbs.terminate("x1")

    # --- one branch alone

    @rule(pick=st.integers(0, 9))
    def pause_branch(self, pick: int) -> None:
        self.tries(lambda: self.steered.verbs.pause("x1", branch=self.branch(pick)))

    @rule(pick=st.integers(0, 9))
    def resume_branch(self, pick: int) -> None:
        self.tries(lambda: self.steered.verbs.resume("x1", branch=self.branch(pick)))

    def branch(self, pick: int) -> str:
        found = {path.rpartition("/")[0] for path in self.states() if "/" in path}
        found |= set(json.loads(self.paused_branches()))
        return sorted(found)[pick % len(found)] if found else "nothing"

    def paused_branches(self) -> str:
        key = self.journal.keys.record("x1")
        return str(self.journal.redis.hget(key, "pauses") or "{}")

    # --- those outside

    @rule(pick=st.integers(0, 9), attempt=st.integers(0, 2))
    def complete(self, pick: int, attempt: int = 0) -> None:
        self.tries(lambda: self.tasks.complete(self.task(pick, attempt), {"n": pick}))

    @rule(pick=st.integers(0, 9), attempt=st.integers(0, 2), final=st.booleans())
    def fail(self, pick: int, attempt: int = 0, final: bool = False) -> None:
        named = self.task(pick, attempt)
        self.tries(lambda: self.tasks.fail(named, "Broken", retryable=not final))

    @rule(pick=st.integers(0, 9))
    def heartbeat(self, pick: int) -> None:
        self.tries(lambda: self.tasks.heartbeat(self.task(pick, 0), pick))

    def task(self, pick: int, attempt: int) -> TaskId:
        """One that is open, or one that was, or will be."""
        known = [path for path, state in self.states().items() if self.external(path)]
        paths = sorted(known) or sorted(n.key for n in self.worked.plan.nodes() if n.external)
        return TaskId("x1", paths[pick % len(paths)] if paths else "nothing", attempt)

    def external(self, path: str) -> bool:
        return self.known(path) and self.worked.plan.node(path).external

    def known(self, path: str) -> bool:
        with suppress(KeyError):
            return self.worked.plan.node(path) is not None
        return False

    @rule(kept=st.booleans())
    def tell(self, kept: bool = True) -> None:
        self.told += 1
        event = Occurrence(f"e{self.told}", "paid", self.told, None, "x1" if kept else "")
        self.tries(lambda: self.moved.advancer.trigger(event))

    # --- changes

    @rule(pick=st.integers(0, 99), kind=st.sampled_from(["after", "before", "remove", "replace"]))
    def modify(self, pick: int, kind: str = "after") -> None:
        nodes = [node.key for node in self.worked.plan.nodes() if "errorHandlers" not in node.key]
        key = nodes[pick % len(nodes)]
        self.inserted += 1
        new = (task, outside, wait)[pick % 3](f"new{self.inserted}")
        change: dict[str, Any] = {"insert": new, kind: key}
        if kind == "remove":
            change = {"remove": key}
        elif kind == "replace":
            change = {"replace": new | {"id": key.rpartition("/")[2]}, "at": key}
        self.tries(lambda: self.moved.moves.modify("x1", [change]))

    # --- two at once

    @rule(first=st.sampled_from(ALL), second=st.sampled_from(ALL), pick=st.integers(0, 9))
    def between(self, first: str, second: str, pick: int) -> None:
        assert isinstance(self.journal, Interrupted)
        if second == "look":
            # Time passes before both: what the first one writes is of the instant that it read.
            self.journal.clock.advance(PAUSES[pick % 5])  # type: ignore[attr-defined]
            self.journal.between = lambda: self.look(0)
        else:
            self.journal.between = lambda: self.one(second, pick)
        self.one(first, pick)
        self.journal.between = None

    @rule(verb=st.sampled_from(["pause", "resume", "terminate", "cancel"]))
    def twice(self, verb: str) -> None:
        """The second time changes nothing."""
        if verb in ("terminate", "cancel") and self.claims < 4:
            return
        act = getattr(self.steered.verbs, verb)
        self.tries(lambda: act("x1"))
        before = self.journal.redis.dump(self.journal.keys.record("x1"))
        told = len(self.journal.history("x1"))
        self.tries(lambda: self.answers_no(act))
        assert self.journal.redis.dump(self.journal.keys.record("x1")) == before
        assert len(self.journal.history("x1")) == told

    def answers_no(self, act: Callable[[str], bool]) -> None:
        assert act("x1") is False

    def one(self, name: str, pick: int) -> None:
        """One of all acts, if it can be now."""
        if name in ("cancel", "terminate") and self.claims < 2:
            return
        match name:
            case "finish" if self.held:
                path, claimed = self.held.pop(pick % len(self.held))
                self.past.append((path, claimed))
                self.settle(path, claimed, pick % 3 > 0)
            case "come_late" if self.past:
                self.settle(*self.past[pick % len(self.past)], pick % 2 > 0)
            case "deliver" if self.worked.sent:
                self.deliver(pick, pick % 2 > 0)
            case "look":
                self.look(PAUSES[pick % 5])
            case "cancel":
                self.tries(lambda: self.steered.verbs.cancel("x1", grace=2.0))
            case "pause" | "resume" | "terminate" | "retry":
                self.tries(lambda: getattr(self.steered.verbs, name)("x1"))
            case "skip":
                self.tries(lambda: self.skip(pick))
            case "migrate":
                self.tries(lambda: self.migrate(pick % 3))
            case "tell":
                self.tell()
            case "complete" | "fail" | "heartbeat" | "modify" | "pause_branch" | "resume_branch":
                getattr(self, name)(pick)

    def deliver(self, pick: int, keep: bool) -> None:
        """A worker drops what is about a step that is no more."""
        path = self.worked.sent[pick % len(self.worked.sent)]
        if self.known(path):
            Moving.deliver(self, pick, keep)
        else:
            self.worked.sent.remove(path)

    deliver = precondition(lambda self: self.worked.sent)(
        rule(pick=st.integers(0, 9), keep=st.booleans())(deliver)
    )  # type: ignore[assignment]

    # --- what holds always

    @invariant()
    def branches_are_counted(self) -> None:
        fields = self.journal.steps("x1")
        kept = self.journal.redis.hgetall(self.journal.keys.items("x1"))
        for path, state in self.states().items():
            if state.status is not StepStatus.JOINING:
                continue
            mapped = self.worked.plan.node(path).mapped is not None
            ends, form = (kept, "{}[{}]") if mapped else (fields, "{}/{}")
            scopes = [form.format(path, n) for n in range(state.total)]
            ended = sum(f"={scope}" in ends or f"!{scope}" in ends for scope in scopes)
            assert state.left == state.total - ended > 0

    @invariant()
    def it_is_found_by_what_it_is(self) -> None:
        partition = self.journal.keys.partition("x1")
        record = self.journal.redis.hgetall(self.journal.keys.record("x1"))
        found = self.journal.redis.zrange(self.journal.keys.index(partition), 0, -1)
        assert set(found) == set(heads.members_of("x1", record))

    @invariant()
    def who_listens_is_live_and_the_other_way_round(self) -> None:
        partition = self.journal.keys.partition("x1")
        members = self.journal.redis.zrange(self.journal.keys.listening(partition), 0, -1)
        waits = {StepStatus.LISTENING, StepStatus.EXTERNAL}
        wait_now = sorted(path for path, state in self.states().items() if state.status in waits)
        assert sorted(member.rpartition(" ")[2] for member in members) == wait_now

    @invariant()
    def the_history_tells_how_it_came_to_this(self) -> None:
        status, at = ExecutionStatus.RUNNING, 0
        attempts: dict[str, int] = {}
        for entry in self.journal.history("x1"):
            assert entry.at >= at
            at = entry.at
            match entry.event:
                case "paused":
                    assert status is ExecutionStatus.RUNNING
                    status = ExecutionStatus.PAUSED
                case "resumed":
                    assert status is ExecutionStatus.PAUSED
                    status = ExecutionStatus.RUNNING
                case "cancelling":
                    assert status in (ExecutionStatus.RUNNING, ExecutionStatus.PAUSED)
                    status = ExecutionStatus.CANCELLING
                case "compensating" if not entry.path:
                    assert status in (ExecutionStatus.RUNNING, ExecutionStatus.PAUSED)
                    status = ExecutionStatus.COMPENSATING
                case "retried" if not entry.path:
                    assert status is ExecutionStatus.FAILED
                    status = ExecutionStatus.RUNNING
                case "ended":
                    assert not status.ended
                    status = ExecutionStatus(entry.detail["status"])
                case "claimed":
                    assert status is ExecutionStatus.RUNNING or status.unwinds
                    assert entry.attempt > attempts.get(entry.path, 0)
                    attempts[entry.path] = entry.attempt
                case "completed" | "failed" | "retrying" | "compensating":
                    assert not status.ended
        assert status is self.worked.status()

    def is_refused_for_good(self) -> bool:
        if self.worked.status() is not ExecutionStatus.FAILED:
            return False
        if super().is_refused_for_good():
            return True
        failed = [p for p, state in self.states().items() if state.status is StepStatus.FAILED]
        nodes = [self.worked.plan.node(path) for path in failed if self.known(path)]
        if any(node.loop is not None or node.mapped is not None for node in nodes):
            return True
        try:
            self.steered.verbs.retry("x1")
        except NotAllowed as refused:
            return "is of type event" in str(refused)  # it was on the way when a join failed
        return False

    def all_is_done(self) -> None:
        for branch in json.loads(self.paused_branches()):
            self.tries(lambda branch=branch: self.steered.verbs.resume("x1", branch=branch))  # type: ignore[misc]
        for path, state in self.states().items():
            if state.status is StepStatus.EXTERNAL:
                self.tries(lambda path=path: self.tasks.complete(TaskId("x1", path), 1))  # type: ignore[misc]
        self.tell()


@pytest.mark.timeout(3600 if LONG else 300)
def test_any_order_of_all_that_can_be_done_keeps_what_holds_always(
    redis: Redis, settings: Settings
) -> None:
    Everything.journal = Interrupted(redis, settings, clock=FakeClock())
    run_state_machine_as_test(Everything, settings=hypothesis_settings())  # type: ignore[no-untyped-call]
