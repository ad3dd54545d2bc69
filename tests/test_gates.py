"""Gates: at most so many executions of a key, or of a workflow, are active; the others wait."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orch import Orchestrator
from orch.cli.app import run_command
from orch.control.bulk import StartRequest
from orch.control.manager import Started
from orch.errors import ConcurrencyRejected, InputError, NotAllowed
from orch.journal.connection import milliseconds
from orch.journal.journal import Claimed
from orch.workflows.gates import Gate, Place, Slots, Stand, cancelled_by, is_void
from orch.workflows.starts import key_text
from orch.workflows.validation import validate_document
from tests.build import FakeClock, task, wait
from tests.conftest import wait_for
from tests.test_starting import Played

ONE = {"concurrency": {"key": "$.input.customer"}}
REJECTS = {"concurrency": {"key": "$.input.customer", "policy": "reject"}}
CANCELS = {"concurrency": {"key": "$.input.customer", "policy": "cancel-previous"}}
ACME = {"customer": "acme"}
GRACE = 3000


@pytest.fixture
def played(orchestrator: Orchestrator, clock: FakeClock) -> Iterator[Played]:
    played = Played(orchestrator, clock)
    played.define("one", [wait("w", 1000)], **ONE)
    played.define()
    yield played
    for info in played.manager.executions():
        played.manager.steering.terminate(info.id)
    played.look(GRACE)
    played.look(60_000)
    left = played.journal.redis.keys("*:[gq]:*")
    assert left == [], "a slot is held by nobody"


def statuses(played: Played, ids: list[str]) -> list[str]:
    return [played.status(id) for id in ids]


class TestQueue:
    def test_one_at_a_time_in_the_order_of_their_starts(self, played: Played) -> None:
        ids = [played.start("one", ACME) for _ in range(3)]
        other = played.start("one", {"customer": "other"})
        assert statuses(played, [*ids, other]) == ["running", "queued", "queued", "running"]
        played.look(1000)
        assert statuses(played, ids) == ["completed", "running", "queued"]
        played.look(1000)
        played.look(1000)
        assert statuses(played, ids) == ["completed"] * 3
        assert played.told(ids[2])[:2] == ["started", "begun"]
        assert played.see(ids[2]).metrics.duration == 1000

    def test_a_limit_is_how_many(self, played: Played) -> None:
        key = {"key": "$.input.customer", "limit": 2}
        played.define("two", [wait("w", 1000)], concurrency=key)
        ids = [played.start("two", ACME) for _ in range(5)]
        assert statuses(played, ids) == ["running"] * 2 + ["queued"] * 3
        played.look(1000)
        assert statuses(played, ids) == ["completed"] * 2 + ["running"] * 2 + ["queued"]

    def test_why_names_the_key_who_has_the_slot_and_how_many_go_before(
        self, played: Played
    ) -> None:
        ids = [played.start("one", ACME) for _ in range(3)]
        why = played.see(ids[2]).waits or ""
        assert why.startswith(f"concurrency key 'acme' of workflow 'one' held by {ids[0]} since ")
        assert why.endswith(", 1 before it")
        assert {e.id for e in played.manager.executions(status="queued")} == {*ids[1:]}

    def test_the_key_of_the_call_goes_before_that_of_the_definition(self, played: Played) -> None:
        ids = [
            played.start("one", ACME),
            played.start("one", ACME, concurrency_key="mine"),
            played.start("one", {"customer": "other"}, concurrency_key="mine"),
        ]
        assert statuses(played, ids) == ["running", "running", "queued"]

    def test_without_a_rule_a_key_lets_one_in(self, played: Played) -> None:
        ids = [played.start("w", concurrency_key=5), played.start("w", concurrency_key="5")]
        assert statuses(played, ids) == ["running", "queued"]

    def test_a_key_that_is_null_is_none(self, played: Played) -> None:
        assert statuses(played, [played.start("one", {}) for _ in range(2)]) == ["running"] * 2

    def test_a_key_that_cannot_be_one_refuses_the_start(self, played: Played) -> None:
        with pytest.raises(InputError, match="the concurrency key is a dict"):
            played.start("one", {"customer": {"name": "acme"}})
        with pytest.raises(InputError, match="1001 characters"):
            played.start("one", ACME, concurrency_key="x" * 1001)
        assert played.manager.executions() == []

    def test_a_workflow_may_say_how_many_are_active(self, played: Played) -> None:
        played.define("few", [wait("w", 1000)], maxActive=2)
        ids = [played.start("few") for _ in range(3)]
        assert statuses(played, ids) == ["running", "running", "queued"]
        assert "`maxActive` of workflow 'few' held by" in (played.see(ids[2]).waits or "")

    def test_both_hold(self, played: Played) -> None:
        played.define("both", [wait("w", 1000)], maxActive=2, **ONE)
        inputs = [ACME, ACME, {"customer": "b"}, {"customer": "c"}]
        ids = [played.start("both", each) for each in inputs]
        assert statuses(played, ids) == ["running", "queued", "running", "queued"]
        for _ in range(2):
            played.look(1000)
        assert statuses(played, ids) == ["completed"] * 4

    def test_one_that_starts_later_asks_at_its_instant(self, played: Played) -> None:
        later = played.start("one", ACME, delay=0.5)
        now = played.start("one", ACME)
        assert statuses(played, [later, now]) == ["scheduled", "running"]
        played.look(500)
        assert played.status(later) == "queued"
        assert played.told(later) == ["started", "queued"]
        played.look(500)
        assert statuses(played, [later, now]) == ["running", "completed"]

    def test_many_at_once_and_a_key_that_is_given_twice(self, played: Played) -> None:
        options: Any = {"concurrency_key": "k"}
        asked = [StartRequest("w", None, str(i // 2), None, options) for i in range(6)]
        found = list(played.manager.start_many(asked))
        assert [each.existed for each in found if isinstance(each, Started)] == [False, True] * 3
        ids = [each.id for each in found[::2] if isinstance(each, Started)]
        assert statuses(played, ids) == ["running", "queued", "queued"]


class TestSteering:
    def test_what_ends_while_it_waits_gives_up_its_place(self, played: Played) -> None:
        ids = [played.start("one", ACME) for _ in range(3)]
        assert played.manager.cancel(ids[1])
        assert played.status(ids[1]) == "cancelled"
        played.look(1000)
        assert statuses(played, ids) == ["completed", "cancelled", "running"]

    def test_cancelling_what_runs_lets_the_next_one_begin(self, played: Played) -> None:
        ids = [played.start("one", ACME) for _ in range(2)]
        played.manager.cancel(ids[0])
        assert statuses(played, ids) == ["cancelled", "running"]

    def test_a_paused_one_keeps_its_slot(self, played: Played) -> None:
        ids = [played.start("one", ACME) for _ in range(2)]
        played.manager.steering.pause(ids[0])
        played.look(120_000)
        assert statuses(played, ids) == ["paused", "queued"]
        played.manager.steering.resume(ids[0])
        played.look(0)
        assert statuses(played, ids) == ["completed", "running"]

    def test_one_that_is_paused_while_it_waits_lets_others_go_before_it(
        self, played: Played
    ) -> None:
        ids = [played.start("one", ACME) for _ in range(3)]
        played.manager.steering.pause(ids[1])
        played.look(1000)
        assert statuses(played, ids) == ["completed", "paused", "running"]
        played.manager.steering.resume(ids[1])
        assert played.status(ids[1]) == "queued"
        played.look(1000)
        played.look(0)
        assert statuses(played, ids) == ["completed", "running", "completed"]

    def test_a_deadline_ends_it_while_it_waits(self, played: Played) -> None:
        at = datetime.fromtimestamp((played.clock.now + 90_000) / 1000, UTC)
        ids = [played.start("one", ACME), played.start("one", ACME, deadline=at)]
        played.manager.steering.pause(ids[0])
        played.look(89_999)
        assert played.status(ids[1]) == "queued"
        played.look(1)
        seen = played.see(ids[1])
        assert (seen.status, (seen.error or {})["name"]) == ("failed", "ExecutionTimeout")

    def test_one_that_is_retried_asks_anew_and_its_time_counts_from_then(
        self, played: Played
    ) -> None:
        played.define("t", [task("a")], timeoutMs=5000, **ONE)
        first, second = [played.start("t", ACME) for _ in range(2)]
        self._fail(played, first, "a")
        assert statuses(played, [first, second]) == ["failed", "running"]
        assert played.manager.steering.retry(first)
        assert played.manager.steering.retry(first) is False
        assert played.status(first) == "queued"
        played.look(4000)
        assert played.status(first) == "queued"
        self._fail(played, second, "a")
        assert played.status(first) == "running"
        claimed = played.journal.read_state(first, "a")
        assert claimed is not None
        assert (claimed[1].status, claimed[1].attempt) == ("dispatched", 2)
        played.look(4999)
        assert played.status(first) == "running"
        played.look(1)
        assert played.status(first) == "failed"

    def test_so_does_a_fork_and_a_rerun(self, played: Played) -> None:
        played.define("t", [wait("a", 10, "b"), wait("b", 1000)], **ONE)
        first = played.start("t", ACME)
        played.look(10)
        again = played.manager.start_again(played.manager.forking.fork(first, "b")).id
        rerun = played.manager.start_again(played.manager.forking.rerun(first)).id
        assert statuses(played, [first, again, rerun]) == ["running", "queued", "queued"]
        played.manager.steering.terminate(first)
        assert statuses(played, [first, again, rerun]) == ["cancelled", "running", "queued"]
        played.look(1000)
        assert statuses(played, [again, rerun]) == ["completed", "running"]
        assert "rerun_of" in played.told(rerun)
        assert "forked_from" in played.told(again)

    def test_nothing_of_one_that_waits_can_be_skipped(self, played: Played) -> None:
        played.define("t", [task("a")], **ONE)
        first, _ = [played.start("t", ACME) for _ in range(2)]
        self._fail(played, first, "a")
        played.manager.steering.retry(first)
        with pytest.raises(NotAllowed, match="is queued and cannot have step 'a' skipped"):
            played.manager.steering.skip(first, "a")

    def test_a_task_of_one_that_waits_is_not_open_yet(self, played: Played) -> None:
        played.define("t", [{**task("a"), "external": True}], **ONE)
        first, second = [played.start("t", ACME) for _ in range(2)]
        played.manager.external.fail(f"{first}:a:1", "Broken", "no")
        assert statuses(played, [first, second]) == ["failed", "running"]
        played.manager.steering.retry(first)
        with pytest.raises(NotAllowed, match="its execution waits for a slot"):
            played.manager.external.complete(f"{first}:a:2", 1)
        assert played.manager.external.complete(f"{second}:a:1", 1)
        assert played.manager.external.complete(f"{first}:a:2", 1)
        assert statuses(played, [first, second]) == ["completed", "completed"]

    def test_a_trigger_and_the_command_line_ask_for_slots_too(
        self, played: Played, redis_url: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        triggers = {"triggers": [{"event": "come"}]}
        played.define("r", [wait("w", 1000)], **REJECTS, **triggers)
        played.define("one", [wait("w", 1000)], **ONE, **triggers)
        waits = played.start("one", ACME)
        command = ["start", "r", "--input", "customer=x", "--redis", redis_url]
        assert run_command([*command, "--concurrency-key", "acme"]) == 0
        rejects = capsys.readouterr().out.strip()
        assert run_command([*command, "--concurrency-key", "acme"]) == 1
        assert "1 execution is active for concurrency key 'acme'" in capsys.readouterr().err
        told = played.manager.trigger_event("come", ACME)
        (queued,) = told.started
        assert [(each.workflow, each.name) for each in told.not_triggered] == [
            ("r", "ConcurrencyRejected")
        ]
        assert statuses(played, [rejects, waits, queued]) == ["running", "running", "queued"]
        assert run_command(["why", queued, "--redis", redis_url]) == 0
        assert f"concurrency key 'acme' of workflow 'one' held by {waits}" in (
            capsys.readouterr().out
        )
        assert run_command(["list", "--status", "queued", "--redis", redis_url]) == 0
        assert queued in capsys.readouterr().out
        played.look(1000)
        assert played.status(queued) == "running"
        assert played.told(queued)[:3] == ["started", "triggered_by", "begun"]

    @staticmethod
    def _fail(played: Played, id: str, path: str) -> None:
        key = played.journal.record(id).plan
        claimed = played.journal.claim(
            id, path, owner="me/1/a", plan=key, queue="work", reads=["workflow"], lease=1000
        )
        assert isinstance(claimed, Claimed)
        played.warden.advancer.time_out(id, path, claimed.state, 1)


class TestPolicies:
    def test_rejected_is_not_stored(self, played: Played) -> None:
        played.define("r", [wait("w", 1000)], **REJECTS)
        id = played.start("r", ACME)
        with pytest.raises(ConcurrencyRejected, match="1 execution is active for concurrency key"):
            played.start("r", ACME)
        assert [info.id for info in played.manager.executions()] == [id]
        played.look(1000)
        assert played.status(played.start("r", ACME)) == "running"

    def test_many_at_once_say_which_were_rejected(self, played: Played) -> None:
        played.define("few", [wait("w", 1000)], maxActive={"limit": 2, "policy": "reject"})
        found = list(played.manager.start_many([("few",)] * 3))
        assert [isinstance(each, ConcurrencyRejected) for each in found] == [False, False, True]

    def test_the_same_idempotency_key_is_not_rejected(self, played: Played) -> None:
        played.define("r", [wait("w", 1000)], **REJECTS)
        first = played.manager.start("r", ACME, idempotency_key="k")
        again = played.manager.start("r", ACME, idempotency_key="k")
        assert (again.id, again.existed) == (first.id, True)

    def test_one_that_starts_later_fails_at_its_instant(self, played: Played) -> None:
        played.define("r", [wait("w", 1000)], **REJECTS)
        ids = [played.start("r", ACME), played.start("r", ACME, delay=0.5)]
        played.look(500)
        assert statuses(played, ids) == ["running", "failed"]
        assert (played.see(ids[1]).error or {})["name"] == "ConcurrencyRejected"

    def test_a_retry_is_rejected_and_changes_nothing(self, played: Played) -> None:
        played.define("r", [task("a")], **REJECTS)
        first = played.start("r", ACME)
        TestSteering._fail(played, first, "a")
        second = played.start("r", ACME)
        with pytest.raises(ConcurrencyRejected):
            played.manager.steering.retry(first)
        assert played.status(first) == "failed"
        TestSteering._fail(played, second, "a")
        assert played.manager.steering.retry(first)
        assert played.status(first) == "running"

    def test_the_next_one_takes_the_place_of_those_before_it(self, played: Played) -> None:
        played.define("c", [wait("w", 1000)], **CANCELS)
        ids = [played.start("c", ACME) for _ in range(3)]
        assert statuses(played, ids) == ["cancelled", "cancelled", "running"]
        error = played.see(ids[0]).error or {}
        assert error["message"].startswith(f"execution {ids[1]}, with the same concurrency key")

    def test_and_waits_until_they_have_ended(self, played: Played) -> None:
        played.define("c", [task("a")], **CANCELS)
        first = played.start("c", ACME)
        key = played.manager.plan("c").key
        played.journal.claim(
            first, "a", owner="me/1/a", plan=key, queue="work", reads=["workflow"], lease=100_000
        )
        ids = [first, *(played.start("c", ACME) for _ in range(2))]
        assert statuses(played, ids) == ["cancelling", "cancelled", "queued"]
        played.manager.steering.terminate(first)
        assert statuses(played, ids) == ["cancelled", "cancelled", "running"]

    def test_children_obey_their_own_gates(self, played: Played) -> None:
        played.define("child", [wait("w", 1000)], **ONE)
        call = {"id": "call", "type": "subworkflow", "subworkflow": "child", "input": "$.input"}
        played.define("parent", [call])
        ids = [played.start("parent", ACME) for _ in range(2)]
        played.look(1000)
        assert statuses(played, ids) == ["completed", "running"]
        played.look(1000)
        assert statuses(played, ids) == ["completed", "completed"]

    def test_a_child_that_is_rejected_fails_its_step(self, played: Played) -> None:
        played.define("child", [wait("w", 1000)], **REJECTS)
        call = {"id": "call", "type": "subworkflow", "subworkflow": "child", "input": "$.input"}
        played.define("parent", [{**call, "onError": "b"}, wait("b", 1)])
        ids = [played.start("parent", ACME) for _ in range(2)]
        steps = {step.path: step for step in played.see(ids[1]).steps}
        assert (steps["call"].error or {})["name"] == "ConcurrencyRejected"


class TestRepair:
    """What a process did not come to is done by the warden, in seconds."""

    def _start_only(self, played: Played, monkeypatch: pytest.MonkeyPatch, *lost: str) -> str:
        """A start whose process dies before these."""
        with monkeypatch.context() as patch:
            for name in lost:
                owner, _, attribute = name.rpartition(".")
                target: Any = played.warden.advancer if owner == "advancer" else played.journal
                patch.setattr(target, attribute, _die)
            with pytest.raises(Killed):
                played.start("one", ACME)
        return played.manager.executions()[0].id

    def test_stored_and_no_slot_asked_for(
        self, played: Played, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        id = self._start_only(played, monkeypatch, "advancer.begin")
        played.look(GRACE - 1)
        assert played.status(id) == "queued"
        played.look(1)
        assert played.status(id) == "running"

    def test_a_slot_got_and_not_begun(
        self, played: Played, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        id = self._start_only(played, monkeypatch, "journal.begin")
        assert played.status(id) == "queued"
        played.look(GRACE)
        assert played.status(id) == "running"

    def test_begun_and_a_place_that_is_not_given_back(
        self, played: Played, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ids = [played.start("one", ACME) for _ in range(2)]
        with monkeypatch.context() as patch:
            patch.setattr(played.warden.advancer.gating, "leave", _die)
            with pytest.raises(Killed):
                played.manager.cancel(ids[0])
        assert statuses(played, ids) == ["cancelled", "queued"]
        played.look(GRACE)
        assert statuses(played, ids) == ["cancelled", "running"]

    def test_given_back_and_the_next_one_not_begun(
        self, played: Played, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ids = [played.start("one", ACME) for _ in range(2)]
        with monkeypatch.context() as patch:
            patch.setattr(played.journal, "begin", _die)
            with pytest.raises(Killed):
                played.manager.cancel(ids[0])
        assert statuses(played, ids) == ["cancelled", "queued"]
        played.look(GRACE)
        assert statuses(played, ids) == ["cancelled", "running"]

    def test_a_slot_taken_for_a_start_that_was_never_stored(
        self, played: Played, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        played.define("r", [wait("w", 1000)], **REJECTS)
        with monkeypatch.context() as patch:
            patch.setattr(played.journal, "start", _die)
            with pytest.raises(Killed):
                played.start("r", ACME)
        with pytest.raises(ConcurrencyRejected):
            played.start("r", ACME)
        played.clock.advance(GRACE)
        assert played.status(played.start("r", ACME)) == "running"

    def test_however_often_one_looks_nothing_changes(self, played: Played) -> None:
        ids = [played.start("one", ACME) for _ in range(3)]
        gate = played.journal.record(ids[0]).slots
        assert gate is not None
        for _ in range(3):
            for id in (*ids, f"gate:{gate.gates[0].id}"):
                if played.status(ids[0]) == "running" and id != ids[0]:
                    played.warden.advancer.look_at_whole(id)
        assert statuses(played, ids) == ["running", "queued", "queued"]


class TestAnyOrder:
    """Whatever is asked for in whatever order, and whoever dies on the way."""

    VERBS = ("start", "start", "start", "later", "cancel", "pause", "resume", "retry", "fail")
    DEATHS = (
        "gating.leave",
        "gating.enter",
        "gating.admit",
        "journal.begin",
        "journal.go_on",
        "journal.leave_gate",
        "journal.queue",
        "begin",
    )

    @pytest.mark.parametrize("policy", ["queue", "reject", "cancel-previous"])
    @pytest.mark.parametrize("seed", range(6))
    def test_no_more_are_active_than_may_be_and_all_end(
        self, played: Played, monkeypatch: pytest.MonkeyPatch, policy: str, seed: int
    ) -> None:
        dice = random.Random(f"{policy} {seed}")
        limit = dice.choice([1, 1, 2, 3])
        key = {"key": "$.input.customer", "limit": limit, "policy": policy}
        played.define("t", [task("a")], concurrency=key, maxActive=limit + 1)
        for _ in range(60):
            with monkeypatch.context() as patch:
                if dice.random() < 0.25:
                    owner, _, name = dice.choice(self.DEATHS).rpartition(".")
                    advancer: Any = played.warden.advancer
                    patch.setattr(getattr(advancer, owner) if owner else advancer, name, _die)
                with contextlib.suppress(Killed, ConcurrencyRejected, NotAllowed):
                    self._act(played, dice)
            self._check(played, limit)
        for info in played.manager.executions():
            if info.status == "paused":
                played.manager.steering.resume(info.id)
        for _ in range(200):
            played.look(GRACE)
            self._check(played, limit)
            left = [info for info in played.manager.executions() if info.ended is None]
            if not left:
                break
            for info in left:
                if info.status == "running":
                    TestSteering._fail(played, info.id, "a")
        assert [info.status for info in played.manager.executions() if info.ended is None] == []

    def _act(self, played: Played, dice: random.Random) -> None:
        verb = dice.choice(self.VERBS)
        input = {"customer": dice.choice("ab")}
        if verb in ("start", "later"):
            played.start("t", input, **({"delay": 2} if verb == "later" else {}))
            return
        found = played.manager.executions()
        if dice.random() < 0.3 or not found:
            played.look(dice.choice([0, 500, 3000, 10_000]))
            return
        info = dice.choice(found)
        if verb == "fail":
            if info.status == "running":
                TestSteering._fail(played, info.id, "a")
        elif verb == "cancel":
            played.manager.steering.terminate(info.id)
        else:
            getattr(played.manager.steering, verb)(info.id)

    def _check(self, played: Played, limit: int) -> None:
        active: dict[str, int] = {}
        for info in played.manager.executions(limit=200):
            record = played.journal.record(info.id)
            held = played.journal.redis.hexists(played.journal.keys.record(info.id), "held")
            if record.status in ("running", "cancelling") or (
                record.status == "paused" and not held
            ):
                customer = record.input["customer"]
                active[customer] = active.get(customer, 0) + 1
        assert all(count <= limit for count in active.values()), active
        assert sum(active.values()) <= limit + 1, active


class Killed(BaseException):
    """Not an error that anybody handles."""


def _die(*_: Any, **__: Any) -> Any:
    raise Killed


class TestRules:
    def test_a_place_is_void_if_its_execution_needs_it_no_more(self) -> None:
        place = Place("x", 1, "queue", 5000 * 1024 + 3)
        lives = Stand(ended=False, held=False, since=5000, queued=True)
        assert not is_void(place, lives, 10**6, 100)
        assert is_void(place, Stand(True, False, 5000, False), 5001, 100)
        assert is_void(place, Stand(False, True, 5000, False), 5001, 100)
        assert is_void(place, Stand(False, False, 6000, True), 6001, 100)
        for stand in (None, Stand(True, False, 4000, False)):
            assert not is_void(place, stand, 5099, 100)
            assert is_void(place, stand, 5100, 100)

    def test_who_is_cancelled_for_a_new_one(self) -> None:
        held = [Place(f"h{i}", 2, "cancel-previous", i) for i in range(3)]
        waiting = [Place(f"w{i}", 2, "cancel-previous", 10 + i) for i in range(3)]
        assert cancelled_by(held, waiting, waiting[1]) == ["w0", "h0", "h1"]
        assert cancelled_by(held[:1], waiting[:1], waiting[0]) == []

    def test_slots_are_text(self) -> None:
        slots = Slots((Gate.of("w", 2, "queue", "ä ' \" x"), Gate.of("w", 1, "reject", None)), 7)
        assert Slots.loads(slots.dumps(), "7") == slots
        assert slots.gates[0].id != slots.gates[1].id
        assert Slots.loads(None, None) is None

    def test_a_key_is_text(self) -> None:
        assert [key_text(each) for each in (5, 5.0, "5", True, None)] == ["5"] * 3 + ["true", None]

    @pytest.mark.parametrize(
        ("given", "path"),
        [
            ({"concurrency": {"key": "$.input.a", "limit": 0}}, "concurrency.limit"),
            ({"concurrency": {"key": "$.input.a", "policy": "wait"}}, "concurrency.policy"),
            ({"concurrency": {"key": "$.variables.a"}}, "concurrency.key"),
            ({"concurrency": {"key": "$.input.a ||"}}, "concurrency.key"),
            ({"maxActive": 0}, "maxActive"),
            ({"maxActive": {"limit": 1, "policy": "cancel-previous"}}, "maxActive.policy"),
        ],
    )
    def test_what_cannot_be_is_found(self, given: Any, path: str) -> None:
        _, found = validate_document({"name": "w", "steps": [wait("w", 1)], **given})
        errors = [f for f in found if f.severity == "error"]
        assert [f.path for f in errors] == [path], errors


STARTER = """
import sys
from orch import Orchestrator
from orch.faults import arm
with Orchestrator(redis_url=sys.argv[1]) as orchestrator:
    arm(sys.argv[2])
    orchestrator.start_workflow(sys.argv[3], {"customer": "acme"}, "k")
"""


@pytest.mark.parametrize(
    ("point", "name"),
    [("admitted", "r"), ("started", "one"), ("granted", "one"), ("begun", "one"), ("ended", "c")],
)
def test_a_submitter_that_is_killed_between_two_scripts_costs_seconds(
    played: Played, redis_url: str, tmp_path: Path, point: str, name: str
) -> None:
    played.define("r", [wait("w", 1000)], **REJECTS)
    played.define("c", [wait("w", 1000)], **CANCELS)
    before = played.start("c", ACME)
    struck = tmp_path / "struck"
    command = [sys.executable, "-c", STARTER, redis_url, f"{point}:{struck}", name]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    assert struck.exists()
    played.clock.now = milliseconds()
    again = played.manager
    if point == "admitted":
        assert [e.id for e in again.executions()] == [before]
        played.look(GRACE)
        assert played.status(played.start("r", ACME)) == "running"
        return
    found = again.start(name, ACME, idempotency_key="k")
    assert found.existed
    played.look(2 * GRACE)
    played.look(GRACE)
    assert played.told(found.id).count("begun") == 1
    played.look(1000)
    assert played.status(found.id) == "completed"


CAPABILITIES = """
import pathlib, time
from orch import capability
@capability("guarded")
def guarded(path, id):
    log = pathlib.Path(path)
    with log.open("a") as file:
        file.write(f"in {id} {time.time()}\\n")
    time.sleep(0.1)
    with log.open("a") as file:
        file.write(f"out {id} {time.time()}\\n")
"""


def test_twenty_on_one_key_with_workers_that_die_never_two_at_a_time(
    orchestrator: Orchestrator, tmp_path: Path
) -> None:
    module, log, struck = tmp_path / "guarded.py", tmp_path / "log", tmp_path / "struck"
    module.write_text(CAPABILITIES)
    step = {"id": "a", "capability": "guarded", "input": {"path": str(log), "id": "$.executionId"}}
    orchestrator.define_workflow("one", {"name": "one", "steps": [step], **ONE})
    given: Any = {"include": [str(module)], "pool": "solo", "environment": None}
    armed = {"ORCH_FAULT_POINT": f"ended:{struck}"}
    some = random.randint(3, 9)
    with (
        orchestrator.workers(**given) as first,
        orchestrator.workers(**{**given, "environment": armed}),
        orchestrator.workers(**given),
    ):
        executions = [orchestrator.start_workflow("one", ACME) for _ in range(20)]
        wait_for(lambda: log.exists() and log.read_text().count("out") >= some, 60)
        os.killpg(first.processes[0].pid, signal.SIGKILL)
        for execution in executions:
            assert execution.wait(90).status == "completed"
    assert struck.exists(), "a worker died before it gave the slot back"
    begun = []
    spans = []
    for execution in executions:
        history = execution.history()
        begun.append(next(e.at for e in history if e.event == "begun"))
        spans.append((begun[-1], next(e.at for e in history if e.event == "completed")))
    assert begun == sorted(begun), "in the order of their starts"
    assert all(ended <= start for (_, ended), (start, _) in itertools.pairwise(spans))
    inside = ""
    for line in log.read_text().splitlines():
        word, id, _ = line.split()
        assert inside in ("", id), "two at a time"
        inside = id if word == "in" else ""
