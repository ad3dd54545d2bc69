"""Steps under limits: given back without a slot or a message, and sent when they may begin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from orch.control.runtime import Runtime
from orch.control.status import execution_context
from orch.journal.journal import Claimed
from orch.limits import Limit
from orch.settings import Settings
from orch.workflows.limits import Want
from orch.workflows.outcome import Completed, Limited
from orch.workflows.state import BY_LIMITS, StepState, StepStatus
from tests.build import NOW, FakeClock, decided, parallel, plan_of, task, view
from tests.played import Played

GPU = {"resources": {"gpu": 1}}


@pytest.fixture
def runtime(redis: Redis, settings: Settings, redis_url: str) -> Iterator[Runtime]:
    runtime = Runtime(settings, redis_url)
    runtime.journal.clock = FakeClock()
    runtime.journal.define_resource("gpu", 1)
    yield runtime
    for each in runtime.journal.read_requests():  # of executions that a test has left alive
        runtime.journal.release([(each.member, each.owner)])
    runtime.close()


def clock_of(played: Played) -> FakeClock:
    clock = played.journal.clock
    assert isinstance(clock, FakeClock)
    return clock


def why(played: Played, path: str) -> str:
    journal = played.journal
    return execution_context(journal, played.runtime.plans, "x1").waiting_for[path]


def words(played: Played, path: str) -> list[str]:
    return [entry.event for entry in played.journal.history("x1") if entry.path == path]


def held(played: Played) -> list[str]:
    return sorted(each.token[1] for each in played.journal.read_requests() if each.held)


def waiting(played: Played) -> list[str]:
    return sorted(each.token[1] for each in played.journal.read_requests() if not each.held)


def take(played: Played, path: str, owner: str) -> None:
    """As a worker does that has claimed it."""
    found = played.journal.reserve(
        f"x1 {path}", [Want.resource("gpu", 1)], attempt=1, owner=owner, tenant="default"
    )
    assert found.word == "HELD"


def two(runtime: Runtime, *behind: dict[str, Any], **more: Any) -> Played:
    """Two branches that want the same thing."""
    steps = (task("a", **GPU, **more), task("b", **GPU, **more))
    return Played(runtime, parallel("p", [steps[0]], [steps[1]]), *behind)


def test_the_attempt_is_given_back_as_it_was() -> None:
    plan = plan_of(task("a", retry={"maxAttempts": 2}))
    found = decided(plan, "a", Limited(NOW + 60_000, "resource gpu"))
    assert found.state is not None and found.due == NOW + 60_000
    state = found.state
    assert (state.status, state.attempt, state.failures) == (StepStatus.DISPATCHED, 1, 0)
    assert (state.lost, state.owner, state.waits_for_limits) == (0, BY_LIMITS, True)
    assert [event.word for event in found.events] == ["limited"]


def test_waiting_for_limits_is_part_of_the_time_in_which_it_must_be_taken() -> None:
    plan = plan_of(task("a", scheduleTimeout=5000))
    state = StepState(StepStatus.RUNNING, owner="me/1/a", started=NOW, due=NOW + 5000)
    found = decided(plan, "a", Limited(NOW + 60_000, "resource gpu"), state)
    assert found.state is not None and (found.state.due, found.due) == (NOW + 5000, NOW + 5000)


def test_who_finds_nothing_free_waits_without_a_message(runtime: Runtime) -> None:
    played = two(runtime)
    begun = []

    def act(path: str, item: Any) -> str:
        begun.append(path)
        if len(begun) == 1:
            assert played.do("p/1/b") == "completed"  # another worker, meanwhile
            assert (held(played), waiting(played)) == (["p/0/a"], ["p/1/b"])
            assert played.messages == []
            clock_of(played).advance(1500)
            assert why(played, "p/1/b") == (
                "waits for gpu: 1 of 1 are held, 0 wait before it, for 1.5 s"
            )
        return path

    played.act = act
    played.messages = []
    played.do("p/0/a")
    assert begun == ["p/0/a"]
    assert played.messages == ["p/1/b"]
    played.run()
    assert begun == ["p/0/a", "p/1/b"]
    assert held(played) == waiting(played) == []
    assert words(played, "p/1/b") == ["claimed", "limited", "granted", "claimed", "completed"]
    assert played.journal.status("x1") == "completed"


def test_a_limited_step_is_never_taken_along(runtime: Runtime) -> None:
    played = Played(runtime, task("a", "b"), task("b", "c", **GPU), task("c"), serves="work")
    assert played.run() == 2  # `c` is gone on with
    assert played.runs == ["a", "b", "c"]
    assert held(played) == []


def test_a_capability_is_limited_as_its_settings_say(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = Played(runtime, task("a", "b", input={"customer": "acme"}), task("b"), serves="work")
    limit = Limit(concurrency=1, key="customer")
    monkeypatch.setattr(Played.call, "limit", limit, raising=False)
    seen = []
    played.act = lambda path, item: seen.append(played.journal.read_requests())
    assert played.run() == 2
    (request,), nothing = seen
    assert request.wants[0].name == "concurrency capability:work acme"
    assert nothing == []  # it has no such argument, and is not limited


def test_a_step_is_limited_by_a_key_that_its_own_expression_tells(runtime: Runtime) -> None:
    limits = {"key": "$.input.customer", "concurrency": 2, "rateLimit": "5/s", "name": "pay ments"}
    played = Played(runtime, task("a", limits=[limits]), input={"customer": 7})
    names = []
    played.act = lambda path, item: names.extend(
        want.name for want in played.journal.read_requests()[0].wants
    )
    played.run()
    assert names == ["concurrency limit:pay%20ments 7", "rate limit:pay%20ments 7"]


@pytest.mark.parametrize(
    ("resources", "error", "said"),
    [
        ({"tpu": 1}, "UnknownResource", "orch resources define tpu 1"),
        ({"gpu": 2}, "ResourceExceeded", "whose capacity is 1"),
    ],
)
def test_what_can_never_be_had_fails_the_step(
    runtime: Runtime, resources: dict[str, int], error: str, said: str
) -> None:
    played = Played(runtime, task("a", resources=resources, retry={"maxAttempts": 3}))
    assert played.run() == 1
    found = played.journal.record("x1").error
    assert found is not None and found["name"] == error
    assert said in found["message"]


def test_a_retry_holds_nothing_while_it_waits(runtime: Runtime) -> None:
    played = two(runtime, retry={"maxAttempts": 2, "interval": 60_000})

    def act(path: str, item: Any) -> str:
        if path == "p/0/a":
            played.do("p/1/b")
            raise ConnectionError("the card fell out")
        return path

    played.act = act
    played.messages = []
    played.do("p/0/a")
    assert played.states()["p/0/a"].status is StepStatus.RETRYING
    assert played.messages == ["p/1/b"]
    assert held(played) == ["p/1/b"]
    played.run()
    assert held(played) == []


def test_the_next_attempt_has_what_a_lost_one_held(runtime: Runtime) -> None:
    played = two(runtime)
    owner = played.worked.take("p/0/a", owner="dead/1/a").state.owner
    take(played, "p/0/a", owner)
    played.do("p/1/b")
    played.messages = []
    runtime.advancer.lose("x1", "p/0/a", played.worked.state("p/0/a"), "it is gone")
    assert (held(played), waiting(played)) == (["p/0/a"], ["p/1/b"])
    assert played.run() == 2
    assert played.runs == ["p/0/a", "p/1/b"]
    assert words(played, "p/0/a") == ["claimed", "lost", "claimed", "completed"]


def test_an_attempt_that_is_out_of_time_gives_back_what_it_held(runtime: Runtime) -> None:
    played = two(runtime)

    def act(path: str, item: Any) -> str:
        if path == "p/0/a":
            played.do("p/1/b")
            state = played.worked.state(path)
            runtime.advancer.time_out("x1", path, state, 10)
            assert held(played) == []  # the parallel step has failed, nobody wants it
        return path

    played.act = act
    played.messages = []
    played.do("p/0/a")
    assert held(played) == waiting(played) == []
    assert played.journal.status("x1") == "failed"


# --- what dies in between -------------------------------------------------------------------------


def look(played: Played) -> None:
    """As a warden does when the limits are due."""
    clock_of(played).advance(played.journal.grace)
    played.runtime.advancer.look_at_whole("limits:")


def wait_behind(runtime: Runtime) -> Played:
    """`a` is held by a worker that lives elsewhere, `b` waits; nothing is on its way."""
    played = two(runtime)
    take(played, "p/0/a", played.worked.take("p/0/a").state.owner)
    played.do("p/1/b")
    played.messages = []
    return played


def test_what_a_dead_worker_did_not_give_back_is_given_back_for_it(runtime: Runtime) -> None:
    played = wait_behind(runtime)
    claimed = Claimed(played.worked.state("p/0/a"), view())
    played.worked.settle("p/0/a", claimed, Completed(None))
    assert held(played) == ["p/0/a"]
    look(played)
    assert (held(played), played.messages) == (["p/1/b"], ["p/1/b"])
    played.run()
    assert held(played) == []


def test_who_got_it_and_was_not_sent_is_sent(runtime: Runtime) -> None:
    played = wait_behind(runtime)
    state = played.worked.state("p/0/a")
    played.journal.release([("x1 p/0/a", state.owner)])
    assert (held(played), played.messages) == (["p/1/b"], [])
    look(played)
    assert played.messages == ["p/1/b"]


def test_who_got_it_before_it_was_seen_to_wait_is_sent(runtime: Runtime) -> None:
    played = wait_behind(runtime)
    release = played.journal.release
    owner = played.worked.state("p/0/a").owner
    state = played.worked.state("p/1/b")
    assert state.waits_for_limits
    release([("x1 p/0/a", owner)])
    runtime.advancer.see_granted("x1", "p/1/b")
    assert played.messages == ["p/1/b"]


def test_a_token_that_waits_is_not_sent_before_its_turn(runtime: Runtime) -> None:
    played = wait_behind(runtime)
    state = played.worked.state("p/1/b")
    assert runtime.advancer.look_at_limited("x1", "p/1/b", state)
    assert played.messages == []
    played.journal.release([("x1 p/1/b", played.journal.read_request("x1", "p/1/b").owner)])
    assert not runtime.advancer.look_at_limited("x1", "p/1/b", state)  # it is sent, and asks anew


def test_who_is_cancelled_or_paused_while_it_waits_holds_nobody_up(runtime: Runtime) -> None:
    played = wait_behind(runtime)
    played.journal.pause("x1", {"by": "ada"})
    owner = played.worked.state("p/0/a").owner
    runtime.advancer.leave_limits("x1", "p/0/a", owner)
    assert held(played) == waiting(played) == played.messages == []


def test_out_of_time_it_fails_and_its_place_is_given_up(runtime: Runtime) -> None:
    played = two(runtime, scheduleTimeout=5000)
    take(played, "p/0/a", played.worked.take("p/0/a").state.owner)
    played.do("p/1/b")
    clock_of(played).advance(5000)
    state = played.worked.state("p/1/b")
    runtime.advancer.time_out_in_queue("x1", "p/1/b", state, 5000)
    assert waiting(played) == []
    found = played.journal.record("x1").error
    assert found is not None and found["name"] == "ScheduleTimeout"
    look(played)
    assert held(played) == []
