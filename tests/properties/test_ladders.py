"""Random ladders and decisions on a virtual clock: no rung is skipped, and none is taken twice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from redis import Redis

from orch.errors import OrchError
from orch.journal.journal import Claimed, Journal
from orch.workflows.outcome import Completed, Failed, Failure
from orch.workflows.state import LIVE, StepState, StepStatus
from tests.build import parallel, task
from tests.escalated import Played

MINUTE = 60_000
times = st.integers(1, 60).map(lambda minutes: minutes * MINUTE)

rungs = st.one_of(
    st.builds(
        lambda n, pause, within: {
            "retry": {"maxAttempts": n, "interval": pause, **({"within": within} if within else {})}
        },
        st.integers(1, 3),
        st.sampled_from([0, MINUTE]),
        st.none() | times,
    ),
    st.builds(
        lambda within: {
            "fallback": {"capability": "senior", **({"within": within} if within else {})}
        },
        st.none() | times,
    ),
    st.builds(
        lambda within, every: {
            "human": {"within": within, **({"remindEvery": every} if every else {})}
        },
        times,
        st.none() | st.integers(15, 60).map(lambda minutes: minutes * MINUTE),
    ),
)
ladders = st.lists(rungs, min_size=1, max_size=5)

acts = st.sampled_from(
    [
        "complete",
        "fail",
        "fail",
        "lose",
        "time",
        "time",
        "late",
        "claim",
        "release",
        "comment",
        "retry",
        "skip",
        "reroute",
        "delegate",
    ]
)


class Laddered(Played):
    """One step with a ladder, in a branch beside a quiet one; and what happens to it."""

    def __init__(self, journal: Journal, ladder: list[Any], *, inside: bool) -> None:
        self.ladder = ladder
        step = task("deploy", escalation=ladder)
        self.at = "both/0/deploy" if inside else "deploy"
        steps = [parallel("both", [step], [task("beside")])] if inside else [step]
        super().__init__(journal, *steps)
        self.late: list[tuple[str, Claimed]] = []  # attempts that were taken from their holder

    def works(self) -> list[str]:
        fields = self.journal.steps("x1")
        return [
            path
            for path, text in fields.items()
            if path[0] not in "=!?"
            and path.startswith(self.at)
            and StepState.loads(text).status
            in (StepStatus.DISPATCHED, StepStatus.RUNNING, StepStatus.RETRYING)
        ]

    def act(self, what: str) -> None:
        found = self.works()
        match what:
            case "time":
                self.pass_time()
            case "late":
                self.come_late()
            case "complete" | "fail" | "lose" if found:
                self.work(what, found[0])
            case "complete" | "fail" | "lose":
                pass
            case _:
                self.decide(what)

    def pass_time(self) -> None:
        """Until the next instant at which somebody must look at the step, or at its rung.

        The join around it is looked at each minute, which would be most of what is played.
        """
        watch = self.journal.keys.watch(self.journal.keys.partition("x1"))
        due = [
            int(score)
            for member, score in self.journal.redis.zrange(watch, 0, -1, withscores=True)
            if member.startswith(f"x1 {self.at}")
        ]
        now = self.journal.clock()
        self.look(max(min(due, default=now) - now, 0))

    def work(self, what: str, path: str) -> None:
        claimed = self.worked.claim(path, f"me/1/{len(self.late)}")
        if not isinstance(claimed, Claimed):
            self.pass_time()  # it waits for its pause, or its message
            return
        if what == "lose":
            self.late.append((path, claimed))
            self.advancer.lose("x1", path, claimed.state, "its worker is gone")
            return
        self.settle(what, path, claimed)

    def settle(self, what: str, path: str, claimed: Claimed) -> None:
        if what == "complete":
            outcome: Any = Completed("done")
        else:
            failure = Failure("Broken", "it broke", "deploy", path, claimed.state.attempt)
            outcome = Failed(failure)
        plan = self.worked.plan
        self.advancer.settle(plan, claimed.view, path, claimed.state, outcome)

    def come_late(self) -> None:
        """A worker that was taken for dead hands in what it did: nothing may come of it."""
        if self.late:
            path, claimed = self.late.pop()
            before = self.journal.steps("x1")
            self.settle("complete", path, claimed)
            assert self.journal.steps("x1") == before

    def decide(self, what: str) -> None:
        more: dict[str, Any] = {"note": "hm"} if what == "comment" else {}
        if what in ("reroute", "delegate"):
            more["target"] = "leads" if what == "delegate" else "senior"
        if what == "claim":
            more["until"] = self.journal.clock() + MINUTE
        before = self.journal.steps("x1"), self.journal.history("x1")
        try:
            self.rule(self.at, what, **more)
        except OrchError:
            assert (self.journal.steps("x1"), self.journal.history("x1")) == before

    # --- what holds always -------------------------------------------------------------------

    def check(self) -> None:
        fields = self.journal.steps("x1")
        states = {p: StepState.loads(t) for p, t in fields.items() if p[0] not in "=!?"}
        live = {path for path, state in states.items() if state.status in LIVE}
        watch = self.journal.keys.watch(self.journal.keys.partition("x1"))
        watched = {
            member.partition(" ")[2]
            for member in self.journal.redis.zrange(watch, 0, -1)
            if member.startswith("x1 ")
        } - {""}
        if self.ended() == "running":
            assert live <= watched, (live, watched)
        own = states.get(self.at)
        open_ = [each.path for each in self.journal.open_escalations()]
        escalated = own is not None and own.status is StepStatus.ESCALATED
        assert open_ == ([self.at] if escalated else [])
        works = [path for path in live if "/~" in path]
        assert len(works) <= 1
        assert not works or escalated
        self.check_rungs()

    def check_order(self, entered: list[int]) -> None:
        assert entered == sorted(set(entered))
        left_out = set(range(1, max(entered, default=0))) - set(entered)
        assert all("retry" in self.ladder[number - 1] for number in left_out)

    def check_rungs(self) -> None:
        """Each rung is entered once, in its order, and none is left out but tries of poison."""
        history = [e for e in self.journal.history("x1") if e.path == self.at]
        entered = [e.detail["rung"] for e in history if e.event in ("escalated", "rung")]
        self.check_order(entered)
        assert sum(e.event == "resolved" for e in history) <= 1
        assert sum(e.event == "completed" for e in history) <= 1
        events = {notice: event for event, notice in self.told}
        assert all(events[notice] == event for event, notice in self.told)
        assert sum(event == "raised" for event in events.values()) <= 1


@pytest.mark.parametrize("inside", [False, True])
def test_a_ladder_is_climbed_once_and_ends(journal: Journal, redis: Redis, inside: bool) -> None:
    @examples(
        max_examples=40,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(ladder=ladders, script=st.lists(acts, max_size=12))
    def play(ladder: list[Any], script: list[str]) -> None:
        redis.flushdb()
        played = Laddered(journal, ladder, inside=inside)
        if inside:
            played.do("both/1/beside")
        for what in script:
            played.act(what)
            played.check()
        for _ in range(60):
            if played.ended() != "running":
                break
            played.act("fail" if played.works() else "time")
            played.check()
        assert played.ended() in ("completed", "failed"), played.words()
        assert journal.open_escalations() == []

    play()
