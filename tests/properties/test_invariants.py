"""Random workflows, random outcomes, random faults: what holds always, looked at after each step.

Broker, workers and time are played by the test; plan, transitions, journal, scripts, advancer
and the warden's decisions are the real ones, on a real server.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis
from redis.crc import key_slot

from orch.control.advance import Advancer, beginning, children, committing, delivery, ending
from orch.control.placing import Placing
from orch.control.plans import Plans
from orch.control.steering import Steering
from orch.errors import NotAllowed, Unreachable
from orch.journal.bundles import Taking
from orch.journal.journal import Claimed, Journal, Start, open_redis
from orch.journal.scripts import Script
from orch.settings import Settings
from orch.tasks.warden import Warden
from orch.workflows.canvas import may_bundle
from orch.workflows.commit import Transition
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.handoff import Handoff, entry_after, hand_over, is_settled, make_handoff
from orch.workflows.message import Address
from orch.workflows.node import Node
from orch.workflows.outcome import Completed, Failed, Failure, Outcome
from orch.workflows.paths import join_of, split, split_lap
from orch.workflows.plan import Plan
from orch.workflows.state import LIVE, ExecutionStatus, StepState, StepStatus, encode
from orch.workflows.transition import begin, decide, scopes_to_join
from orch.workflows.view import View, fields_for
from tests.build import (
    FakeClock,
    choose,
    decision,
    handler,
    parallel,
    task,
    wait,
    workflow,
)
from tests.conftest import LONG, keys_for_ever

pytestmark = pytest.mark.timeout(3600 if LONG else 120)

EXECUTION = "x1"
INPUT = {"flag": True, "n": 1, "list": [1, 2, 3, 4]}
SHORT = [[1, 2], [], "$.input.n"]
"""Lists of maps in each other; the last is none."""
RULES: list[list[dict[str, Any]]] = [
    [],
    [],
    [{"name": "flagged", "when": "$.input.flag", "route": {"capability": "other", "priority": 5}}],
    [
        {
            "name": "lapped",
            "when": "$.variables.of_s0.lap == 1",
            "route": {"queue": "lapped"},
            "stop": True,
        },
        {
            "name": "broken",
            "steps": ["s2"],
            "when": "$.message.input - 1",
            "route": {"capability": "other"},
        },
    ],
]
"""For messages: none, or such as send them elsewhere, or fail when a step is entered."""
MOST_ACTIONS = 5000

Trouble = dict[str, int]
"""Key of a node -> how many of its attempts fail."""


# --- what is run ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    definition: WorkflowDefinition
    trouble: Trouble
    goes_on: (
        bool  # whether a worker goes on by itself, and takes branches that begin alike together
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    trouble: Trouble = {}
    steps = draw_scope(draw, "", 3, trouble)
    handlers = draw(st.sampled_from([[], [], [handler("tell")], [handler(steps[-1]["id"])]]))
    result = {"variables": "$.variables", "last": "$.output"}
    rules = draw(st.sampled_from(RULES))
    flow = workflow(*steps, errorHandlers=handlers, result=result, messageRules=rules)
    return Case(flow, trouble, draw(st.booleans()))


def draw_scope(
    draw: st.DrawFn, scope: str, depth: int, trouble: Trouble, of_item: bool = False
) -> list[dict[str, Any]]:
    count = draw(st.integers(1, 3))
    ids = [f"s{number}" for number in range(count)]
    return [draw_step(draw, scope, ids, number, depth, trouble, of_item) for number in range(count)]


def draw_step(
    draw: st.DrawFn,
    scope: str,
    ids: list[str],
    number: int,
    depth: int,
    trouble: Trouble,
    of_item: bool,
) -> dict[str, Any]:
    own, later = ids[number], ids[number + 1 :]
    key = f"{scope}/{own}".lstrip("/")
    following = later[0] if later else None
    more: dict[str, Any] = {}
    if draw(st.integers(0, 4)) == 0:
        more["condition"] = draw(st.sampled_from(["$.input.flag", "!$.input.flag", "$.input - 1"]))
    if later and draw(st.integers(0, 3)) == 0:
        more["onError"] = draw(st.sampled_from(later))
    kinds = ["task", "task", "task", "wait", *(["parallel", "parallel", "map"] if depth else [])]
    kind = draw(st.sampled_from([*kinds, "decision"] if later else kinds))
    if kind == "wait":
        return wait(own, draw(st.sampled_from([0, 500, 60_000])), following, **more)
    if kind == "decision":
        default = draw(st.sampled_from([None, later[-1]]))
        return decision(own, "$.input.n", {draw(st.sampled_from("12")): later[0]}, default, **more)
    if kind == "parallel":
        branches = [
            draw_scope(draw, f"{key}/{branch}", depth - 1, trouble, of_item)
            for branch in range(draw(st.integers(1, 3)))
        ]
        step = parallel(own, *branches, next=following, **more)
        if draw(st.booleans()):
            step["parallel"]["maxConcurrency"] = draw(st.integers(1, 2))
        return step
    if kind == "map":
        of: dict[str, Any] = {
            "items": draw(st.sampled_from(SHORT if of_item else ["$.input.list", *SHORT])),
            "steps": draw_scope(draw, key, depth - 1, trouble, of_item=True),
            "maxConcurrency": draw(st.integers(1, 3)),
        }
        if draw(st.booleans()):
            of["tolerate"] = {"count": draw(st.integers(0, 5))}
        if draw(st.booleans()):
            of["collect"] = "[$.item, $.output]"
        return {"id": own, "type": "map", "map": of, "next": following, **more}
    trouble[key] = draw(st.sampled_from([0, 0, 0, 1, 2, 9]))
    if draw(st.booleans()):
        more["retry"] = {"maxAttempts": draw(st.integers(1, 3)), "interval": 100}
    if later and draw(st.integers(0, 3)) == 0:
        back = ids[draw(st.integers(0, number))]
        following = choose("$.output.lap", {"1": back}, later[0])
    name = key.replace("/", "_")
    # Items would set the same variable one after the other, and which is last is open.
    output = {} if of_item else {f"of_{name}": "$.output"}
    return task(own, following, output=output, **more)


@dataclass(frozen=True)
class Faults:
    """How likely each fault is. After ``budget`` faults the world is a good one."""

    seed: int = 0
    drop: float = 0.0  # a message is lost
    double: float = 0.0  # it is delivered twice
    reorder: float = 0.0  # another message, or a look at the watch, comes first
    die_claimed: float = 0.0  # the worker dies before its outcome is settled
    freeze: float = 0.0  # … or seems to, and settles much later
    die_settled: float = 0.0  # … or dies after it was settled
    reply: float = 0.0  # a reply of Redis is lost; the call is made again, or given up
    away: float = 0.0  # the broker does not take messages
    budget: int = 60


RATES = st.sampled_from([0.0, 0.1, 0.4])
FAULTS = st.builds(
    Faults,
    seed=st.integers(0, 2**32),
    drop=RATES,
    double=RATES,
    reorder=RATES,
    die_claimed=RATES,
    freeze=RATES,
    die_settled=RATES,
    reply=RATES,
    away=RATES,
)


# --- the world in which it runs --------------------------------------------------------------


def incarnation_of(claimed: Claimed) -> str:
    return claimed.state.owner.split("/")[0]


class Died(BaseException):
    """The process ends here."""


class LossyJournal(Journal):
    """A journal whose replies may be lost on the way."""

    world: World

    def run(self, script: str, **given: Any) -> Any:
        reply = super().run(script, **given)
        if script == "take_due" or not self.world.strikes("reply"):
            return reply
        if given.get("owner") or script == "start":
            return super().run(script, **given)
        raise Unreachable("the reply was lost")

    def read_worker(self, incarnation: str) -> tuple[dict[str, Any], int] | None:
        held = self.world.workers.get(incarnation)
        if held is None:
            return None
        return {"at": self.clock(), "holds": [f"{EXECUTION} {path}" for path in held]}, 3000


class PlayedTurn:
    """Takes one of the tokens that its worker's settle opens, whatever it costs."""

    beside = None  # it asks nothing

    def __init__(self, world: World, incarnation: str) -> None:
        self.world = world
        self.incarnation = incarnation
        self.taken: tuple[str, Claimed] | None = None

    def offer(self, plan: Plan, view: View, transition: Transition) -> Handoff | None:
        if not self.world.case.goes_on or self.taken or transition.end is not None:
            return None
        self.world.born += 1
        owner = f"{self.incarnation}/1/{self.world.born}"
        if transition.branch is not None:
            entry = entry_after(plan, transition.branch)
            return make_handoff(plan, transition.branch, owner, 3000) if entry else None
        opened = [o for o in transition.opens if o.state.status is StepStatus.DISPATCHED]
        if not opened or not is_settled(transition):
            return None
        return hand_over(plan, opened[0], view, owner, 3000)

    def takes(self, plan: Plan, node: Node) -> tuple[str, int] | None:
        if not self.world.case.goes_on or self.taken:
            return None
        self.world.born += 1
        return f"{self.incarnation}/1/{self.world.born}", 3000

    def message_for(self, plan: Plan, view: View, path: str) -> Sequence[Any]:
        return ()

    def take(self, plan: Plan, path: str, claimed: Claimed) -> None:
        assert self.taken is None
        self.taken = path, claimed


class PlayedWarden(Warden):
    """The decisions of the real warden, without its thread, its broker and its signs of life."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.settings = world.journal.settings
        self.journal = world.journal
        self.advancer = world.advancer
        self.runtime = SimpleNamespace(  # type: ignore[assignment]
            plans=world.plans,
            settings=world.journal.settings,
            placing=Placing(world.journal),
            declarations=world.advancer.declarations,
        )
        self._stopping = False

    def say_alive(self) -> None:
        """Nobody asks."""

    def _settle_lost_children(self) -> None:
        """There are none."""

    def _depth(self, name: str) -> int:
        return len(self.world.messages)


class World:
    """One execution among unreliable things."""

    def __init__(self, redis: Redis, case: Case, faults: Faults, **given: Any) -> None:
        self.faults = faults
        self.random = random.Random(faults.seed)
        self.struck = 0
        self.calm = True
        self.case = case
        self.clock = FakeClock()
        self.journal = LossyJournal(
            redis, Settings(partitions=2, **{"max_lost_attempts": 1000, **given}), clock=self.clock
        )
        self.journal.world = self
        self.plans = Plans(self.journal)
        self.advancer = Advancer(self.journal, self.plans, self.publish)
        self.warden = PlayedWarden(self)
        self.messages: list[str] = []
        self.workers: dict[str, set[str]] = {}  # incarnation -> paths that it holds
        self.held: list[tuple[str, Claimed]] = []
        self.frozen: list[tuple[str, Claimed]] = []
        self.born = 0
        self.mended = False
        self.addresses: dict[str, Address] = {}

    def strikes(self, fault: str) -> bool:
        if self.calm or self.struck >= self.faults.budget:
            return False
        hit = self.random.random() < getattr(self.faults, fault)
        self.struck += hit
        return hit

    # --- broker

    def publish(self, plan: Plan, execution: str, paths: Sequence[str]) -> None:
        if self.strikes("away"):
            raise Unreachable("the broker is away")
        for path in paths:
            if not self.strikes("drop"):
                self.messages += [path] * (1 + self.strikes("double"))

    # --- one thing after the other

    def run(self) -> World:
        redis = self.journal.redis
        redis.flushall()
        self.plan = self.plans.store("w", self.case.definition, {})
        self.calm = False
        self.attempt(self.start)
        self.check()
        self.go_on()
        self.calm = True
        self.stragglers()
        self.check()
        self.check_end()
        return self

    def go_on(self) -> None:
        for _ in range(MOST_ACTIONS):
            if self.journal.status(EXECUTION).ended:  # type: ignore[union-attr]
                return
            self.act()
            self.check()
        raise AssertionError("the execution does not end")

    def retry(self) -> bool:
        """Retry it; from now on what fails is mended. False: that is refused."""
        self.mended, self.calm = True, False
        self.addresses.clear()  # steps that are entered again are routed again
        runtime: Any = SimpleNamespace(
            settings=self.journal.settings,
            journal=self.journal,
            plans=self.plans,
            advancer=self.advancer,
        )
        while self.journal.status(EXECUTION) is ExecutionStatus.FAILED:
            try:
                self.attempt(lambda: Steering(runtime).retry(EXECUTION))
            except NotAllowed:
                return False
        self.check()
        self.go_on()
        return True

    def start(self) -> None:
        seen = View(EXECUTION, "w", input=INPUT)
        transition = begin(self.plan, seen, self.clock(), self.journal.grace)
        definition = self.case.definition
        started = self.journal.start(
            Start(
                EXECUTION, "w", definition.content_hash(), self.plan.key, encode(INPUT), transition
            )
        )
        if started:
            self.advancer.follow(self.plan, EXECUTION, transition)

    def act(self) -> None:
        moves = []
        if self.messages:
            moves.append(self.deliver)
        if self.held:
            moves.append(self.finish)
        if not moves or self.strikes("reorder"):
            moves = [*moves, self.look, self.thaw] if self.frozen else [*moves, self.look]
            self.random.shuffle(moves)
        self.attempt(moves[0])

    def attempt(self, move: Callable[[], None]) -> None:
        with suppress(Died, Unreachable):
            move()

    def pick(self, things: list[Any]) -> Any:
        return things.pop(self.random.randrange(len(things)) if self.strikes("reorder") else 0)

    def deliver(self) -> None:
        path = self.pick(self.messages)
        alike = self.alike(path)
        if alike:
            self.take_together([path, *alike])
        else:
            self.take_alone(path)

    def take_alone(self, path: str) -> None:
        self.born += 1
        incarnation = f"worker{self.born}"
        node = self.plan.node(path)
        claimed = self.journal.claim(
            EXECUTION,
            path,
            owner=f"{incarnation}/1/a",
            plan=self.plan.key,
            queue=node.queue,
            reads=fields_for(self.plan, path),
            lease=3000,
            quiet=self.plan.is_quiet(path),
        )
        if not isinstance(claimed, Claimed) or self.strikes("die_claimed"):
            return
        if self.strikes("freeze"):
            self.frozen.append((path, claimed))
            return
        self.hold(incarnation, path, claimed)

    def hold(self, incarnation: str, path: str, claimed: Claimed) -> None:
        if self.plan.node(path).routes:
            address = claimed.view.addresses[path]
            assert self.addresses.setdefault(path, address) == address, "routed once"
        self.workers.setdefault(incarnation, set()).add(path)
        self.held.append((path, claimed))

    def alike(self, path: str) -> list[str]:
        """Other messages of branches of the same parallel step, which one worker may take."""
        up = join_of(split(path)[0])
        if not self.case.goes_on or up is None or self.plan.node(up[0]).type != "parallel":
            return []
        lanes = self.plan.node(up[0]).policy.lanes  # type: ignore[union-attr]
        found = [m for m in self.messages if (join_of(split(m)[0]) or [None])[0] == up[0]]
        if lanes or not all(
            may_bundle(self.plan, self.plan.node(m), "auto") for m in (path, *found)
        ):
            return []
        for other in found:
            self.messages.remove(other)
        return found

    def take_together(self, paths: list[str]) -> None:
        self.born += 1
        incarnation = f"worker{self.born}"
        join, owner, now = join_of(split(paths[0])[0])[0], f"{incarnation}/1/all", self.clock()  # type: ignore[index]
        state = StepState(StepStatus.RUNNING, since=now, owner=owner, started=now)
        reads = [f for path in paths for f in fields_for(self.plan, path) if f[:2] != "b:"]
        taking = Taking([(path, state) for path in paths], list(dict.fromkeys(reads)), "work", 3000)
        found = self.journal.settle_branches(EXECUTION, self.plan.key, join, owner, [], taking)
        left = paths if found is None else [paths[number] for number in found.left]
        for path in left:
            if not self.strikes("drop"):
                self.take_alone(path)
        if found is None or found.view is None or self.strikes("die_claimed"):
            return
        for number in found.taken:
            self.hold(incarnation, paths[number], Claimed(state, found.view))

    def finish(self) -> None:
        path, claimed = self.pick(self.held)
        owner, incarnation = claimed.state.owner, incarnation_of(claimed)
        others = [each for each in self.held if each[1].state.owner == owner]
        self.held = [each for each in self.held if each[1].state.owner != owner]
        for done, _ in ((path, claimed), *others):
            self.workers[incarnation].discard(done)
        if others:
            self.settle_together([(path, claimed), *others])
        else:
            self.settle(path, claimed)

    def settle_together(self, held: list[tuple[str, Claimed]]) -> None:
        """The plain ends of branches in one call, and what else they came to each by itself."""
        ends, alone = [], []
        for path, claimed in held:
            outcome = self.outcome(path, claimed.state)
            transition = decide(
                self.plan, claimed.view, path, claimed.state, outcome, self.clock(), 3000
            )
            plain = transition.is_plain_end and not self.strikes("reorder")
            (ends if plain else alone).append((path, claimed, transition))
        found = None
        if ends:
            path, claimed, _ = ends[0]
            join = join_of(split(path)[0])[0]  # type: ignore[index]
            told = [(claimed.state.attempt, transition) for _, claimed, transition in ends]
            owner = claimed.state.owner
            found = self.journal.settle_branches(EXECUTION, self.plan.key, join, owner, told)
        if found is None:
            alone = [*ends, *alone]
        elif found.joined and not self.strikes("die_settled"):
            self.advancer.join(EXECUTION, join, found.calls)
        for path, claimed, _ in alone:
            self.settle(path, claimed)

    def thaw(self) -> None:
        self.settle(*self.pick(self.frozen))

    def settle(self, path: str, claimed: Claimed) -> None:
        outcome = self.outcome(path, claimed.state)
        turn = PlayedTurn(self, incarnation_of(claimed))
        self.advancer.settle(self.plan, claimed.view, path, claimed.state, outcome, turn=turn)
        if turn.taken is not None:
            path, claimed = turn.taken
            assert claimed.view == self.read_anew(path, claimed)
            self.hold(turn.incarnation, path, claimed)

    def read_anew(self, path: str, claimed: Claimed) -> View:
        """What a claim by message would have given."""
        again = self.journal.claim(
            EXECUTION,
            path,
            owner=claimed.state.owner,
            plan=self.plan.key,
            queue="work",
            reads=fields_for(self.plan, path),
            lease=3000,
            quiet=self.plan.is_quiet(path),
        )
        assert isinstance(again, Claimed), again
        return again.view

    def outcome(self, path: str, state: StepState) -> Outcome:
        node = self.plan.node(path)
        if not self.mended and state.failures < self.case.trouble.get(node.key, 0):
            return Failed(Failure("Trouble", "as planned", node.id, path, state.attempt))
        return Completed({"path": path, "lap": split_lap(split(path)[1])[1]})

    def look(self) -> None:
        """Time passes until something is due; the warden deals with it."""
        due = [score for _, score in self.watch()]
        self.clock.now = max(self.clock.now, int(min(due, default=0)))
        self.warden.look()

    def stragglers(self) -> None:
        """What comes after the end: it must change nothing, and stay for ever nowhere."""
        for path in self.messages:
            self.journal.claim(
                EXECUTION, path, owner="late/1/a", plan=self.plan.key, queue="work",
                reads=["workflow"], lease=3000,
            )  # fmt: skip
        for path, claimed in [*self.held, *self.frozen]:
            self.settle(path, claimed)
        self.clock.advance(3_600_000)
        self.warden.look()

    # --- what holds always

    def watch(self) -> list[tuple[str, float]]:
        key = self.journal.keys.watch(self.journal.keys.partition(EXECUTION))
        return [
            (member.split(" ", 1)[1], score)
            for member, score in self.journal.redis.zrange(key, 0, -1, withscores=True)
            if member.startswith(f"{EXECUTION} ")  # and no notice
        ]

    def states(self) -> dict[str, StepState]:
        fields = self.journal.steps(EXECUTION)
        return {p: StepState.loads(text) for p, text in fields.items() if p[0] not in "=!?"}

    def check(self) -> None:
        states = self.states()
        live = sorted(path for path, state in states.items() if state.status in LIVE)
        watched = sorted(path for path, _ in self.watch())
        assert watched == live, "each live token has one entry in the watch, no other has"
        status = self.journal.status(EXECUTION)
        assert status is not None and status.ended == (not live), (status, live)
        fields = self.journal.steps(EXECUTION)
        for path, state in states.items():
            if state.status is StepStatus.JOINING:
                mapped = self.plan.node(path).mapped is not None
                scopes = scopes_to_join(self.plan, path, state)
                kept = self.journal.keys.items(EXECUTION) if mapped else None
                ends = self.journal.redis.hgetall(kept) if kept else fields
                ended = sum(f"={scope}" in ends or f"!{scope}" in ends for scope in scopes)
                assert state.left == state.total - ended
                open_items = {p.removeprefix(path).partition("]")[0] for p in live
                              if mapped and p.startswith(f"{path}[")}  # fmt: skip
                assert len(open_items) <= 3, "no more lanes than allowed"
                at_work = state.opened - state.waits - ended
                assert not mapped or len(open_items) == at_work
                policy = self.plan.node(path).policy
                if policy is not None and policy.lanes:
                    branches = {p.removeprefix(f"{path}/").partition("/")[0] for p in live
                                if p.startswith(f"{path}/")}  # fmt: skip
                    assert len(branches) == at_work <= policy.lanes

    def check_end(self) -> None:
        history = self.journal.history(EXECUTION)
        finals = Counter(
            entry.path
            for entry in history
            if entry.event in ("completed", "decided", "failed", "skipped", "cancelled")
        )
        assert all(count == 1 for count in finals.values()), finals
        assert sum(entry.event == "ended" for entry in history) == 1
        assert keys_for_ever(self.journal.redis) == []
        record = self.journal.record(EXECUTION)
        for path, count in Counter(e.path for e in history if e.event == "completed").items():
            assert count == 1, path
        assert record.ended > 0

    def result(self) -> tuple[ExecutionStatus, Any, Any]:
        record = self.journal.record(EXECUTION)
        return record.status, record.output, record.error

    def is_a_race(self) -> bool:
        """Whether a branch failed: which one is first, and what the others came to, is open."""
        return any(
            state.total and state.status is StepStatus.FAILED for state in self.states().values()
        )


@pytest.fixture(scope="module")
def server(redis_url: str) -> Iterator[Redis]:
    client = open_redis(redis_url)
    yield client
    client.close()


@pytest.fixture(autouse=True)
def die_where_a_world_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(name: str) -> None:
        if current and current[0].strikes("die_settled"):
            raise Died

    for part in (committing, children, ending, beginning, delivery):
        monkeypatch.setattr(part, "fault", fault)


current: list[World] = []


def play(redis: Redis, case: Case, faults: Faults, **given: Any) -> World:
    world = World(redis, case, faults, **given)
    current[:] = [world]
    return world.run()


randomly = settings(
    max_examples=3000 if LONG else 60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@randomly
@given(case=cases(), faults=FAULTS)
def test_faults_change_nothing_but_the_time(server: Redis, case: Case, faults: Faults) -> None:
    good = play(server, case, Faults())
    expected, race = good.result(), good.is_a_race()
    bad = play(server, case, faults)
    if race:
        return
    status, output, error = bad.result()
    assert status == expected[0]
    assert without_attempts([output, error]) == without_attempts(expected[1:])


def without_attempts(found: Any) -> Any:
    """Outputs and errors, but for the numbers of attempts: lost ones are counted, too."""
    if isinstance(found, dict):
        return {k: without_attempts(v) for k, v in found.items() if k != "attempt"}
    return [without_attempts(v) for v in found] if isinstance(found, (list, tuple)) else found


@randomly
@given(case=cases(), faults=FAULTS)
def test_what_failed_is_tried_again_and_ends(server: Redis, case: Case, faults: Faults) -> None:
    world = play(server, case, faults)
    if world.result()[0] is not ExecutionStatus.FAILED:
        return
    before = Counter(e.path for e in world.journal.history(EXECUTION) if e.event == "completed")
    if not world.retry():
        return
    world.calm = True
    world.stragglers()
    world.check()
    completed = Counter(e.path for e in world.journal.history(EXECUTION) if e.event == "completed")
    assert before <= completed and max(completed.values(), default=0) <= 1
    error = world.result()[2]
    assert error is None or "Trouble" not in str(error["name"]), "what fails is mended"


@randomly
@given(case=cases(), faults=FAULTS)
def test_workers_that_keep_dying_end_the_execution_too(
    server: Redis, case: Case, faults: Faults
) -> None:
    play(server, case, faults, max_lost_attempts=2)


@settings(max_examples=200 if LONG else 10, deadline=None)
@given(case=cases(), faults=FAULTS)
def test_all_keys_of_a_call_share_one_slot(server: Redis, case: Case, faults: Faults) -> None:
    seen: set[str] = set()
    pack = Script.pack

    def checked(script: Script, given: dict[str, Any]) -> Any:
        keys, argv = pack(script, given)
        seen.add(script.name)
        # One call takes from all partitions where one server holds them all.
        assert script.name == "take_due" or len({key_slot(key.encode()) for key in keys}) == 1
        return keys, argv

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Script, "pack", checked)
        play(server, case, faults)
    assert "start" in seen
