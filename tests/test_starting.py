"""Start options: later, with a deadline, with attributes; what they refuse and survive."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orch import Orchestrator
from orch.control.manager import Started
from orch.control.status import ExecutionContext
from orch.errors import InputError, InvalidWorkflow
from orch.journal.journal import Claimed
from orch.tasks.warden import Warden
from orch.workflows.durations import parse_span
from orch.workflows.starts import MOST_ATTRIBUTES, start_options
from orch.workflows.validation import validate_document
from tests.build import FakeClock, task, wait
from tests.conftest import wait_for

NOW = 1_750_000_000_000
STEPS = [wait("w", 1000, "b"), wait("b", 10)]


class PlayedWarden(Warden):
    """The real decisions on a clock that a test moves, without thread, broker, signs of life."""

    def __init__(self, orchestrator: Orchestrator, clock: FakeClock) -> None:
        self.runtime = orchestrator.runtime
        self.settings = orchestrator.settings
        self.journal = self.runtime.journal
        self.journal.clock = clock
        self.advancer = self.runtime.advancer
        self._stopping = False

    def say_alive(self) -> None:
        """Nobody asks."""

    def _settle_lost_children(self) -> None:
        """There are none."""

    def _depth(self, name: str) -> int:
        return 1


class Played:
    """An orchestrator and the one warden that looks after its executions."""

    def __init__(self, orchestrator: Orchestrator, clock: FakeClock) -> None:
        self.orchestrator, self.clock = orchestrator, clock
        self.warden = PlayedWarden(orchestrator, clock)
        self.manager = orchestrator.manager
        self.journal = self.warden.journal

    def define(self, name: str = "w", steps: Any = None, **more: Any) -> None:
        self.manager.define(name, {"name": name, "steps": steps or STEPS, **more})

    def start(self, name: str = "w", input: Any = None, **given: Any) -> str:
        started: Started = self.manager.start(name, input, **given)
        return started.id

    def look(self, ms: int) -> None:
        self.clock.advance(ms)
        self.warden.look()

    def see(self, id: str) -> ExecutionContext:
        return self.manager.status(id)

    def status(self, id: str) -> str:
        return self.see(id).status

    def told(self, id: str) -> list[str]:
        return [entry.event for entry in self.manager.history(id)]


@pytest.fixture
def played(orchestrator: Orchestrator, clock: FakeClock) -> Iterator[Played]:
    played = Played(orchestrator, clock)
    played.define()
    yield played
    for info in played.manager.executions():
        played.manager.cancel(info.id)


class TestOptions:
    @pytest.mark.parametrize(
        ("text", "ms"),
        [("90s", 90_000), ("1h30m", 5_400_000), ("500ms", 500), ("1.5m", 90_000), ("PT2S", 2000)],
    )
    def test_a_duration_is_text_as_people_write_it(self, text: str, ms: int) -> None:
        assert parse_span(text) == ms
        assert start_options(NOW, {"delay": text}).at == NOW + ms

    @pytest.mark.parametrize("delay", [2, 2.0, timedelta(seconds=2)])
    def test_or_seconds_or_a_timedelta(self, delay: Any) -> None:
        assert start_options(NOW, {"delay": delay}).at == NOW + 2000

    def test_an_instant_is_text_or_a_datetime(self) -> None:
        instant = datetime(2030, 12, 1, 8, tzinfo=UTC)
        expected = int(instant.timestamp() * 1000)
        assert start_options(NOW, {"at": "2030-12-01T08:00Z"}).at == expected
        assert start_options(NOW, {"at": "2030-12-01T09:00+01:00"}).at == expected
        assert start_options(NOW, {"at": instant}).at == expected

    def test_a_deadline_is_an_instant_or_counts_from_the_beginning(self) -> None:
        options = start_options(NOW, {"deadline": "2030-12-01T08:00Z"})
        assert (options.deadline > NOW, options.within) == (True, 0)
        options = start_options(NOW, {"deadline": "2h"})
        assert (options.deadline, options.within) == (0, 7_200_000)

    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            ({"delay": 1, "at": "2030-12-01T08:00Z"}, "both were given"),
            ({"delay": "soon"}, "'soon' is no duration"),
            ({"delay": -1}, "is negative"),
            ({"delay": True}, "a bool is no duration"),
            ({"delay": float("nan")}, "longer than a hundred years"),
            ({"delay": 1e300}, "longer than a hundred years"),
            ({"at": "2030-12-01"}, "has no time zone"),
            ({"at": datetime(2030, 1, 1)}, "has no time zone"),
            ({"at": "tomorrow"}, "is no instant"),
            ({"deadline": "2020-01-01T00:00Z"}, "is not after now"),
            ({"deadline": 0}, "no time"),
            (
                {"at": "2031-01-01T00:00Z", "deadline": "2030-01-01T00:00Z"},
                "not after the instant at which it begins",
            ),
            ({"attributes": {"no name": 1}}, "'no name' is no name"),
            ({"attributes": {"list": [1]}}, "attribute 'list' is a list"),
            ({"attributes": {"long": "x" * 1001}}, "1001 characters"),
            ({"attributes": {f"a{i}": 1 for i in range(MOST_ATTRIBUTES + 1)}}, "33 attributes"),
        ],
    )
    def test_what_cannot_be_is_refused_with_a_sentence(
        self, given: Any, sentence: str, played: Played
    ) -> None:
        with pytest.raises(InputError, match=sentence):
            played.start(**given)
        assert played.manager.executions() == []


class TestLater:
    def test_it_is_there_at_once_and_begins_at_its_instant(self, played: Played) -> None:
        id = played.start(delay=5)
        seen = played.see(id)
        assert (seen.status, seen.steps, seen.metrics.duration) == ("scheduled", [], 0)
        assert seen.waits == f"begins at {seen.begins}, in 5.0 s"
        played.look(4999)
        assert played.status(id) == "scheduled"
        played.look(1)
        assert played.status(id) == "running"
        played.look(1000)
        played.look(10)
        seen = played.see(id)
        assert (seen.status, seen.waits, seen.metrics.duration) == ("completed", None, 1010)
        assert played.told(id)[:2] == ["started", "begun"]

    def test_an_instant_that_is_over_begins_at_once(self, played: Played) -> None:
        id = played.start(at="2020-01-01T00:00Z")
        assert (played.status(id), played.see(id).begins) == ("running", None)

    def test_its_version_is_that_of_the_call(self, played: Played) -> None:
        id = played.start(delay=5)
        played.define(steps=[wait("other", 1)])
        played.look(5000)
        assert [step.path for step in played.see(id).steps] == ["w"]

    def test_the_same_key_is_the_same_execution(self, played: Played) -> None:
        first = played.manager.start("w", idempotency_key="k", delay=5)
        again = played.manager.start("w", idempotency_key="k")
        assert (again.id, again.existed) == (first.id, True)
        assert played.status(first.id) == "scheduled"

    def test_it_begins_once_however_many_look(self, played: Played) -> None:
        id = played.start(delay=5)
        played.clock.advance(5000)
        for _ in range(3):
            played.warden.advancer.look_at_whole(id)
        assert played.told(id).count("begun") == 1

    def test_cancelled_before_it_never_begins(self, played: Played) -> None:
        id = played.start(delay=5)
        assert played.manager.cancel(id, "sold out")
        played.look(6000)
        assert (played.status(id), played.see(id).steps) == ("cancelled", [])
        assert played.see(id).metrics.duration == 0

    def test_paused_it_does_not_begin_until_it_is_resumed(self, played: Played) -> None:
        id = played.start(delay=5)
        steering = played.manager.steering
        assert steering.pause(id, "wait", by="ada")
        assert steering.pause(id) is False
        played.look(60_000)
        assert played.status(id) == "paused"
        assert steering.resume(id, {"x": 1})
        assert steering.resume(id) is False
        assert played.status(id) == "scheduled"
        played.look(0)
        assert (played.status(id), played.see(id).variables) == ("running", {"x": 1})

    def test_resumed_before_its_instant_it_waits_for_it(self, played: Played) -> None:
        id = played.start(delay=5)
        played.manager.steering.pause(id)
        played.clock.advance(1000)
        played.manager.steering.resume(id)
        played.look(3000)
        assert played.status(id) == "scheduled"
        played.look(1000)
        assert played.status(id) == "running"

    def test_resumed_in_the_moment_it_was_taken_it_begins_once(self, played: Played) -> None:
        id = played.start(delay=5)
        pending = played.journal.read_pending(id)
        assert pending is not None
        played.manager.steering.pause(id)
        played.clock.advance(5000)
        played.warden.advancer.look_at_whole(id)  # taken before the pause
        assert played.status(id) == "paused"

    def test_what_fails_on_entering_has_ended(self, played: Played) -> None:
        played.define("bad", [{**task("a"), "condition": "$.input.a / 0 == 1"}])
        id = played.start("bad", {"a": 1}, delay=1)
        played.look(1000)
        assert played.status(id) == "failed"
        assert played.journal.redis.pttl(played.journal.keys.record(id)) > 0

    def test_nothing_can_be_skipped_or_retried_before(self, played: Played) -> None:
        id = played.start(delay=5)
        assert played.manager.steering.retry(id) is False


class TestDeadline:
    def test_a_duration_counts_from_the_beginning(self, played: Played) -> None:
        id = played.start(delay=5, deadline=0.5)
        played.look(5000)
        assert played.status(id) == "running"
        played.look(499)
        assert played.status(id) == "running"
        played.look(1)
        seen = played.see(id)
        assert (seen.status, seen.error and seen.error["name"]) == ("failed", "ExecutionTimeout")

    def test_so_does_the_timeout_of_the_workflow(self, played: Played) -> None:
        played.define("t", timeoutMs=500)
        id = played.start("t", delay=5)
        played.look(5000)
        assert played.status(id) == "running"
        played.look(500)
        assert played.status(id) == "failed"

    def test_the_earliest_counts(self, played: Played) -> None:
        played.define("t", timeoutMs=900)
        at = datetime.fromtimestamp((played.clock.now + 300) / 1000, UTC)
        early, late = played.start("t", deadline=at), played.start("t", deadline=0.5)
        played.look(300)
        assert (played.status(early), played.status(late)) == ("failed", "running")
        played.look(200)
        assert played.status(late) == "failed"

    def test_an_instant_ends_it_while_it_is_held(self, played: Played) -> None:
        at = datetime.fromtimestamp((played.clock.now + 6000) / 1000, UTC)
        id = played.start(delay=5, deadline=at)
        played.manager.steering.pause(id)
        played.clock.advance(7000)
        played.manager.steering.resume(id)
        played.look(0)
        assert played.status(id) == "failed"

    def test_a_retry_gives_a_duration_anew(self, played: Played) -> None:
        played.define("t", [task("a")])
        id = played.start("t", deadline=1)
        plan = played.manager.plan("t").key
        claimed = played.journal.claim(
            id, "a", owner="me/1/a", plan=plan, queue="work", reads=["workflow"], lease=1000
        )
        assert isinstance(claimed, Claimed)
        played.warden.advancer.time_out(id, "a", claimed.state, 1)
        assert played.status(id) == "failed"
        played.clock.advance(5000)
        assert played.manager.steering.retry(id)
        played.look(999)
        assert played.status(id) == "running"
        played.look(1)
        assert played.status(id) == "failed"


class TestAttributes:
    def test_those_of_the_call_go_before_those_of_the_definition(self, played: Played) -> None:
        played.define(
            "a",
            attributes={
                "customer": "$.input.customer",
                "large": "$.input.amount > 100",
                "none": "$.input.missing",
                "who": "order of ${$.input.customer}",
                "fixed": 7,
            },
        )
        id = played.start("a", {"customer": "acme", "amount": 120}, attributes={"fixed": 8})
        assert played.see(id).attributes == {
            "customer": "acme",
            "large": True,
            "who": "order of acme",
            "fixed": 8,
        }

    def test_one_that_is_no_scalar_refuses_the_start(self, played: Played) -> None:
        played.define("a", attributes={"customer": "$.input.customer"})
        with pytest.raises(InputError, match="attribute 'customer' is a dict"):
            played.start("a", {"customer": {"name": "acme"}})
        assert played.manager.executions() == []

    def test_only_the_input_is_known_before_it_begins(self, played: Played) -> None:
        with pytest.raises(InvalidWorkflow) as raised:
            played.define("a", attributes={"x": "$.variables.x", "y": "$.input.y ||"})
        paths = [f.path for f in raised.value.findings if f.severity == "error"]
        assert paths == ["attributes.x", "attributes.y"]

    def test_a_document_says_how_many_there_may_be(self) -> None:
        attributes = {f"a{i}": 1 for i in range(33)}
        _, found = validate_document({"name": "w", "steps": [task("a")], "attributes": attributes})
        assert any("32" in finding.message for finding in found)


def test_it_begins_in_time_with_a_real_worker_that_was_not_there_when_it_was_started(
    orchestrator: Orchestrator,
) -> None:
    orchestrator.define_workflow("w", {"name": "w", "steps": [wait("w", 1)]})
    overdue = orchestrator.start_workflow("w", delay=0.1)
    with orchestrator.workers(pool="solo"):
        overdue.wait(30)
        executions = [orchestrator.start_workflow("w", delay=1 + i / 10) for i in range(5)]
        for execution in executions:
            seen = execution.wait(30)
            asked = datetime.fromisoformat(seen.begins or "")
            begun = next(e.at for e in execution.history() if e.event == "begun")
            assert 0 <= begun - asked.timestamp() * 1000 <= 200
    wait_for(lambda: not orchestrator.runtime.journal.live_workers())
