"""Rerun and fork: what is kept, what variables were, and what is refused."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from orch import AsyncOrchestrator, Orchestrator
from orch.cli.app import run_command
from orch.control.advance import Advancer
from orch.control.catalog import Catalog
from orch.control.forking import Forking
from orch.control.plans import Plans
from orch.control.steering import Steering
from orch.errors import InputError, NotAllowed, NotFound
from orch.journal.journal import Journal
from orch.settings import Settings
from orch.workflows.commit import Event
from orch.workflows.forking import keep
from orch.workflows.outcome import Completed, Failed, Failure
from orch.workflows.state import ExecutionStatus, StepStatus
from tests.build import (
    FakeClock,
    Worked,
    decision,
    parallel,
    plan_of,
    runtime_of,
    start,
    task,
    view,
    wait,
)


class Forked:
    """An execution ``x1``, one worker, and what forks it."""

    def __init__(self, worked: Worked) -> None:
        self.worked = worked
        self.journal = worked.journal
        plans = Plans(self.journal)
        self.advancer = Advancer(self.journal, plans, worked.dispatch)
        runtime = runtime_of(self.advancer)
        self.steering = Steering(runtime)
        self.forking = Forking(runtime, Catalog(self.journal.settings, plans))

    def do(self, path: str, output: Any = None) -> None:
        claimed = self.worked.take(path)
        self.advancer.settle(self.worked.plan, claimed.view, path, claimed.state, Completed(output))

    def fail(self, path: str, name: str = "Broken") -> None:
        claimed = self.worked.take(path)
        failure = Failure(name, "it broke", path, path, claimed.state.attempt)
        self.advancer.settle(self.worked.plan, claimed.view, path, claimed.state, Failed(failure))

    def fork(self, path: str, **given: Any) -> Forked:
        """Start a fork of it, and go on with that."""
        again = self.forking.fork(self.worked.execution, path, **given)
        assert self.journal.start(again.start)
        assert not self.journal.start(again.start), "a start is made once"
        self.advancer.follow(again.plan, again.start.id, again.start.transition)
        return Forked(Worked(self.journal, again.plan, again.start.id))

    def refuses(self, path: str, match: str, **given: Any) -> None:
        with pytest.raises(NotAllowed, match=match):
            self.forking.fork(self.worked.execution, path, **given)

    @property
    def variables(self) -> dict[str, Any]:
        return dict(self.journal.record(self.worked.execution).variables)

    def statuses(self) -> dict[str, str]:
        fields = self.journal.steps(self.worked.execution)
        return {p: json.loads(t)[0] for p, t in fields.items() if p[0] not in "=!?"}


def forked(journal: Journal, *steps: dict[str, Any], **more: Any) -> Forked:
    return Forked(start(journal, *steps, **more))


class TestFork:
    def test_what_was_done_before_is_kept_and_what_came_after_is_not_seen(
        self, journal: Journal
    ) -> None:
        old = forked(
            journal,
            task("a", "b", output="n"),
            task("b", "c", output={"n": "$.variables.n + $.output", "m": "$.output"}),
            task("c", output={"n": "99", "later": "$.output"}, input="$.output"),
            input={"i": 1},
        )
        old.do("a", 1)
        old.do("b", 10)
        old.do("c", 100)
        assert old.variables == {"n": "99", "m": 10, "later": 100}
        before = old.journal.steps("x1")

        new = old.fork("b", by="ada")
        assert new.variables == {"n": 1}
        assert new.statuses() == {"a": "completed", "b": "dispatched"}
        assert list(new.worked.watched()) == ["b"]
        record = journal.record(new.worked.execution)
        assert record.origin is not None
        assert {**record.origin, "at": 0} == {
            "execution": "x1",
            "path": "b",
            "by": "ada",
            "at": 0,
        }
        assert record.input == {"i": 1}
        new.do("b", 20)
        claimed = new.worked.take("c")
        assert claimed.view.variables == {} and claimed.view.outputs == {"": 20}
        assert new.variables == {"n": 21, "m": 20}
        assert old.journal.steps("x1") == before

    def test_variables_and_input_may_be_edited(self, journal: Journal) -> None:
        old = forked(journal, task("a", "b", output="n"), task("b", input="$.input.x"))
        old.do("a", 1)
        new = old.fork("b", variables={"n": 5, "new": [1]}, input={"x": 2})
        assert new.variables == {"n": 5, "new": [1]}
        assert new.worked.take("b").view.input == {"x": 2}
        with pytest.raises(InputError, match="not JSON"):
            old.forking.fork("x1", "b", variables={"n": {1}})

    def test_of_one_that_runs_or_failed(self, journal: Journal) -> None:
        old = forked(journal, task("a", "b", output="n"), task("b"))
        old.do("a", 1)
        assert old.fork("b").statuses() == {"a": "completed", "b": "dispatched"}
        old.fail("b")
        new = old.fork("b")
        new.do("b")
        assert new.worked.status() is ExecutionStatus.COMPLETED
        assert old.worked.status() is ExecutionStatus.FAILED

    def test_the_last_output_a_taken_error_and_its_handler_are_known(
        self, journal: Journal
    ) -> None:
        old = forked(
            journal,
            task("a", "b"),
            task("b", "c", onError="c"),
            task("c", "d", input={"o": "$.output", "e": "$.error.name"}),
            task("d"),
        )
        old.do("a", {"k": 1})
        old.fail("b", "Odd")
        new = old.fork("c")
        seen = new.worked.take("c").view
        assert seen.outputs == {"": {"k": 1}}
        assert seen.errors[""]["name"] == "Odd"
        assert new.statuses()["b"] == "failed"

    def test_laps_of_a_cycle_are_steps_of_their_own(self, journal: Journal) -> None:
        old = forked(
            journal,
            task("a", "more", output="n"),
            decision("more", "$.variables.n < 3", {"true": "a", "false": "z"}),
            task("z"),
        )
        for number, path in enumerate(("a", "a#2", "a#3"), 1):
            old.do(path, number)
        assert old.variables == {"n": 3}
        new = old.fork("a#2")
        assert new.variables == {"n": 1}
        new.do("a#2", 2)
        new.do("a#3", 3)
        assert new.worked.state("z").status is StepStatus.DISPATCHED

    def test_parallel_steps_loops_maps_and_waits_before_it_are_kept_whole(
        self, journal: Journal
    ) -> None:
        loop = {"until": "$.output >= 2", "steps": [task("s", output="s")]}
        old = forked(
            journal,
            parallel("p", [task("a", output="a")], [task("b", output="b")], next="l"),
            {"id": "l", "type": "loop", "loop": loop, "next": "m"},
            {
                "id": "m",
                "type": "map",
                "map": {"items": [1, 2], "steps": [task("i", "j"), task("j", output="j")]},
                "next": "z",
            },
            task("z", output={"a": "0"}),
        )
        old.do("p/1/b", "B")
        old.do("p/0/a", "A")
        for path, value in (("l[0]/s", 1), ("l[1]/s", 2)):
            old.do(path, value)
        for path in ("m[1]/i", "m[0]/i", "m[0]/j", "m[1]/j"):
            old.do(path, path)
        old.do("z")
        new = old.fork("z")
        assert new.variables == {"a": "A", "b": "B", "s": 2, "j": "m[1]/j"}
        kept = journal.steps(new.worked.execution)
        assert json.loads(kept["=p"])["results"] == ["A", "B"]
        assert json.loads(kept["=m"])["results"] == ["m[0]/j", "m[1]/j"]
        assert list(new.worked.watched()) == ["z"]
        assert old.fork("l").variables == {"a": "A", "b": "B"}
        old.refuses("l[1]/s", "stands in the loop 'l'; fork from that")
        old.refuses("m[0]/j", "stands in the map 'm'")

    def test_a_fork_of_a_fork_knows_what_the_first_one_knew(self, journal: Journal) -> None:
        old = forked(journal, *(task(s, n, output=s) for s, n in ("ab", "bc", "cd")), task("d"))
        old.do("a", 1)
        old.do("b", 2)
        first = old.fork("c", variables={"x": 7})
        first.do("c", 3)
        second = first.fork("d")
        assert second.variables == {"a": 1, "b": 2, "c": 3, "x": 7}
        assert first.fork("b").variables == {"a": 1}

    def test_what_a_resumption_set_is_known_unless_it_was_set_again(self, journal: Journal) -> None:
        old = forked(
            journal, task("a", "b"), task("b", "c", output={"y": "$.output"}), task("c", output="x")
        )
        old.steering.pause("x1")
        old.steering.resume("x1", {"x": 1, "y": 2})
        old.do("a")
        assert old.fork("b").variables == {"x": 1, "y": 2}
        old.do("b", 3)
        old.refuses("b", "the value that variable 'y' had there is not known")
        assert old.fork("b", variables={"y": 9}).variables == {"x": 1, "y": 9}
        assert old.fork("c").variables == {"x": 1, "y": 3}
        assert old.fork("a", variables={"y": 2}).variables == {"x": 1, "y": 2}

    def test_quiet_items_leave_no_line_and_what_they_set_is_known_if_it_still_holds(
        self, journal: Journal
    ) -> None:
        mapped = {"items": [1], "steps": [task("i", output="v")]}
        old = forked(
            journal,
            {"id": "m", "type": "map", "map": mapped, "next": "a"},
            task("a", "b"),
            task("b", "c", output="v"),
            task("c"),
        )
        old.do("m[0]/i", "item")
        old.do("a")
        assert old.fork("a").variables == {"v": "item"}
        old.do("b", "later")
        old.refuses("b", "variable 'v'")
        assert old.fork("c").variables == {"v": "later"}

    def test_the_deadline_begins_anew(self, journal: Journal, clock: FakeClock) -> None:
        old = forked(journal, task("a", "b"), task("b"), timeoutMs=5000)
        old.do("a")
        clock.advance(60_000)
        assert old.fork("b").worked.watched()[""] == clock.now + 5000

    def test_another_version_takes_over_what_it_has(self, journal: Journal) -> None:
        old = forked(journal, task("a", "b", output="n"), task("b"))
        old.do("a", 1)
        plans = Plans(journal)
        changed = plan_of(task("a", "b"), task("b", "c"), task("c")).definition
        plans.store("w", changed, {})
        assert old.fork("b").worked.plan.version == old.worked.plan.version
        new = old.fork("b", version="latest")
        assert new.variables == {"n": 1}
        new.do("b")
        assert new.worked.state("c").status is StepStatus.DISPATCHED
        plans.store("w", plan_of(task("b")).definition, {})
        old.refuses("b", "has no step 'a'", version="latest")
        with pytest.raises(InputError, match="`same` or `latest`"):
            old.forking.fork("x1", "b", version="3")  # type: ignore[arg-type]

    def test_a_step_that_does_nothing_may_end_it_at_once(self, journal: Journal) -> None:
        old = forked(journal, task("a", "b"), task("b", condition="$.variables.go"))
        old.do("a", 1)
        new = old.fork("b")
        assert new.worked.status() is ExecutionStatus.COMPLETED
        assert journal.redis.pttl(journal.keys.record(new.worked.execution)) > 0

    def test_what_cannot_be_forked_is_named(self, journal: Journal) -> None:
        old = forked(
            journal,
            task("a", "b"),
            task("b"),
            errorHandlers=[{"error": "*", "handler": "work"}],
        )
        with pytest.raises(NotFound, match="was at no step 'b'; it was at: a"):
            old.forking.fork("x1", "b")
        for path in ("", "=a", "!a"):
            with pytest.raises(NotFound):
                old.forking.fork("x1", path)
        with pytest.raises(NotFound, match="no execution 'never'"):
            old.forking.fork("never", "a")
        old.fail("a")
        old.refuses("errorHandlers/0/work", "is an error handler's")


class TestInABranch:
    @pytest.fixture
    def old(self, journal: Journal) -> Forked:
        found = forked(
            journal,
            task("a", "p", output="a"),
            parallel(
                "p",
                [task("x", "y", output="x"), task("y", output={"x": "0"})],
                [task("u", "v", output="u"), task("v")],
                [task("w", output="w")],
                next="z",
            ),
            task("z"),
        )
        found.do("a", 1)
        found.do("p/0/x", 2)
        found.do("p/2/w", 4)
        found.do("p/1/u", 3)
        found.fail("p/0/y")
        return found

    def test_branches_that_ended_well_are_kept_and_others_begin_anew(self, old: Forked) -> None:
        new = old.fork("p/0/y")
        assert new.statuses() == {
            "a": "completed",
            "p": "joining",
            "p/0/x": "completed",
            "p/0/y": "dispatched",
            "p/1/u": "dispatched",
            "p/2/w": "completed",
        }
        assert new.variables == {"a": 1, "x": 2, "w": 4}
        assert set(new.worked.watched()) == {"p", "p/0/y", "p/1/u"}
        state = new.worked.state("p")
        assert (state.total, state.left) == (3, 2)
        for path in ("p/0/y", "p/1/u", "p/1/v"):
            new.do(path, path)
        assert new.worked.state("z").status is StepStatus.DISPATCHED
        results = json.loads(new.journal.steps(new.worked.execution)["=p"])["results"]
        assert results == ["p/0/y", "p/1/v", 4]

    def test_a_join_that_is_decided_without_it_is_refused(self, journal: Journal) -> None:
        of = [{"steps": [task("x")]}, {"steps": [task("y")]}]
        first = {"id": "p", "type": "parallel", "parallel": {"branches": of, "join": "any"}}
        old = forked(journal, first)
        old.do("p/0/x")
        old.refuses("p/1/y", "the branches of 'p' that ended well decide it")
        assert old.fork("p/0/x").statuses()["p/1/y"] == "dispatched"

    def test_a_kept_mapping_that_read_what_is_not_kept_is_refused(self, journal: Journal) -> None:
        old = forked(
            journal,
            parallel(
                "p",
                [task("x", "y"), task("y", output="n")],
                [task("u", output={"m": "$.variables.n"})],
            ),
        )
        old.do("p/0/x")
        old.do("p/0/y", 1)
        old.do("p/1/u")
        old.refuses("p/0/y", "'p/1/u' set a variable from 'n', which 'p/0/y' had set")
        assert old.fork("p").variables == {}

    def test_a_claim_fixes_what_a_mapping_reads(self, journal: Journal) -> None:
        old = forked(
            journal,
            task("a", "p", output="n"),
            parallel("p", [task("x", output="n")], [task("u", output={"m": "$.variables.n"})]),
        )
        old.do("a", 1)
        claimed = old.worked.take("p/1/u")
        old.do("p/0/x", 2)
        old.advancer.settle(old.worked.plan, claimed.view, "p/1/u", claimed.state, Completed(None))
        assert old.variables == {"n": 2, "m": 1}
        assert old.fork("p/0/x").variables == {"n": 1, "m": 1}

    def test_nested_parallel_steps_are_opened_around_it(self, journal: Journal) -> None:
        inner = parallel("q", [task("x")], [task("y")], next="r")
        old = forked(journal, parallel("p", [inner, task("r")], [task("u")]))
        old.do("p/0/q/1/y", 5)
        new = old.fork("p/0/q/0/x")
        assert set(new.worked.watched()) == {"p", "p/0/q", "p/0/q/0/x", "p/1/u"}
        for path in ("p/0/q/0/x", "p/0/r", "p/1/u"):
            new.do(path)
        assert new.worked.status() is ExecutionStatus.COMPLETED


class TestRerun:
    def test_it_begins_anew_with_the_same_input_or_another(self, journal: Journal) -> None:
        old = forked(journal, task("a", output="v"), input={"i": 1})
        old.do("a", 3)
        for value, wanted in ((None, {"i": 1}), ({"i": 2}, {"i": 2})):
            again = old.forking.rerun("x1", value, by="ada", reason="why")
            assert journal.start(again.start)
            record = journal.record(again.start.id)
            assert (record.input, record.variables) == (wanted, {})
            assert record.origin is not None and record.origin["execution"] == "x1"
            told = journal.history(again.start.id)[1]
            assert (told.event, told.detail["reason"]) == ("rerun_of", "why")
        again = old.forking.rerun("x1", idempotency_key="k")
        assert again.start.id == old.forking.rerun("x1", idempotency_key="k").start.id

    def test_input_that_misses_the_schema_is_refused(self, journal: Journal) -> None:
        schema = {"type": "object", "required": ["i"]}
        old = forked(journal, task("a"), input={"i": 1})
        plan = plan_of(task("a"), input=schema)
        Plans(journal).store("w", plan.definition, {})
        with pytest.raises(InputError):
            old.forking.rerun("x1", {"j": 1}, version="latest")


# --- variables, as they were ---------------------------------------------------------------------

MAPPINGS = st.dictionaries(
    st.sampled_from("abc"),
    st.sampled_from(["$.output", "$.variables.a", "$.variables.b", "$.input", "7"]),
    max_size=2,
)


@given(
    mappings=st.lists(MAPPINGS, min_size=2, max_size=6),
    outputs=st.lists(st.integers(0, 9), min_size=6, max_size=6),
)
def test_variables_of_any_step_are_those_that_it_saw(
    mappings: list[dict[str, str]], outputs: list[int]
) -> None:
    names = [f"s{number}" for number in range(len(mappings))]
    follows = [*names[1:], None]
    plan = plan_of(
        *(
            task(name, following, output=mapping)
            for name, following, mapping in zip(names, follows, mappings, strict=True)
        )
    )
    variables: dict[str, Any] = {}
    seen = {}
    steps: dict[str, str] = {}
    history = []
    for name, output in zip(names, outputs, strict=False):
        seen[name] = dict(variables)
        node = plan.node(name)
        context = {"variables": dict(variables), "input": 5, "output": output}
        variables |= {key: mapping.evaluate(context) for key, mapping in node.output}
        steps |= {name: '["completed",1,0,0,0,"",0]', f"={name}": str(output)}
        history += [Event("claimed", name, 1), Event("completed", name, 1)]
    now = view(input=5, variables=variables)
    for name in names:
        assert keep(plan, name, steps, history, now, {}).view.variables == seen[name]


# --- real workers --------------------------------------------------------------------------------

CAPABILITIES = """
import time
from pathlib import Path
from orch import Context, capability

@capability("mark")
def mark(context: Context, file: str, hold: str = "") -> int:
    with open(file, "a") as log:
        log.write(context.path + "\\n")
    while hold and context.attempt == 1 and not Path(hold).exists():
        time.sleep(0.02)
    return len(Path(file).read_text().splitlines())
"""


@pytest.mark.slow
def test_a_fork_runs_only_what_is_left_also_when_its_worker_is_killed(
    orchestrator: Orchestrator, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    module = tmp_path / "marking.py"
    module.write_text(CAPABILITIES)
    log, never = tmp_path / "log", tmp_path / "never"

    def step(name: str, following: str | None, **more: Any) -> dict[str, Any]:
        given = {"file": str(log), **more}
        return {"id": name, "capability": "mark", "input": given, "output": name, "next": following}

    hold = {"hold": "${$.variables.hold || ''}"}
    steps = [step("a", "b"), step("b", "w", **hold), wait("w", 20, "c"), step("c", None)]
    orchestrator.define_workflow("w", {"name": "w", "steps": steps})
    with orchestrator.workers(include=[str(module)], concurrency=1) as first:
        old = orchestrator.start_workflow("w")
        assert old.wait(30).variables == {"a": 1, "b": 2, "c": 3}
        new = orchestrator.fork_workflow(old.id, "b", variables={"hold": str(never)}, by="ada")
        wait_until(lambda: log.read_text().split()[3:] == ["b"])
        os.killpg(first.processes[0].pid, signal.SIGKILL)
        with orchestrator.workers(include=[str(module)], concurrency=1):
            context = new.wait(30)
    assert context.status == "completed"
    assert context.origin is not None and context.origin.path == "b"
    assert log.read_text().split() == ["a", "b", "c", "b", "b", "c"]
    assert context.variables == {"a": 1, "b": 5, "c": 6, "hold": str(never)}
    assert [s.path for s in context.steps] == ["a", "b", "w", "c"]
    found = orchestrator.diff_executions(old.id, new.id)
    assert [s.path for s in found.steps if not s.same] == ["b", "c"]
    listed = {info.id: info.origin for info in orchestrator.list_executions()}
    assert listed[old.id] is None and str(listed[new.id]).startswith(f"forked from {old.id} at b")


def test_the_asynchronous_facade_offers_them(redis: Redis, settings: Settings) -> None:
    async def use() -> None:
        async with AsyncOrchestrator(settings) as orchestrator:
            await orchestrator.define_workflow("w", {"name": "w", "steps": [wait("w", 9000)]})
            old = await orchestrator.start_workflow("w", {"i": 1})
            again = await orchestrator.rerun_workflow(old.id, {"i": 2})
            fork = await orchestrator.fork_workflow(old.id, "w", variables={"v": 1})
            assert (await fork.status()).variables == {"v": 1}
            found = await orchestrator.diff_executions(old.id, again.id)
            assert [c.at for c in found.input] == ["$.i"] and not found.same
            for execution in (old, again, fork):
                assert await execution.cancel()

    asyncio.run(use())


def test_the_command_line_forks_reruns_and_compares(
    orchestrator: Orchestrator, capfd: pytest.CaptureFixture[str]
) -> None:
    url = orchestrator.server.url
    steps = [wait("a", 1, "b", output="v"), wait("b", 9000)]
    orchestrator.define_workflow("w", {"name": "w", "steps": steps})
    old = orchestrator.start_workflow("w", {"i": 1})
    assert orchestrator.skip_step(old.id, "a", 5)

    def orch(*arguments: str, code: int = 0) -> Any:
        assert run_command([*arguments, "--redis", url, "--json"]) == code
        return json.loads(capfd.readouterr().out)

    fork = orch("fork", old.id, "--from", "b", "--set", "v=6", "--set", "t=x", "--by", "ada")
    assert fork["origin"]["path"] == "b" and fork["origin"]["by"] == "ada"
    status = orch("status", fork["id"])
    assert status["variables"] == {"v": 6, "t": "x"} and status["origin"] == fork["origin"]
    again = orch("rerun", old.id, "--input", "j=2")
    assert orch("status", again["id"])["input"] == {"i": 1, "j": 2}
    listed = {line["id"]: line["origin"] for line in orch("list")["executions"]}
    assert listed[again["id"]] == again["origin"] and listed[old.id] is None
    found = orch("diff", old.id, fork["id"], code=1)
    assert {c["at"] for c in found["variables"]} == {"$.v", "$.t"}
    assert orch("diff", old.id, old.id)["same"] is True
    assert orch("fork", old.id, "--from", "c", code=2)["error"]["name"] == "NotFound"
    assert orch("fork", old.id, "--from", "b", "--set", "v", code=2)["error"]
    assert orch("rerun", old.id, "--version", "odd", code=2)["error"]

    assert run_command(["diff", old.id, again["id"], "--redis", url, "--all"]) == 1
    shown = capfd.readouterr().out
    assert "$.j" in shown and "only in a" in shown
    assert run_command(["diff", old.id, old.id, "--redis", url]) == 0
    assert "no difference" in capfd.readouterr().out
    assert run_command(["status", fork["id"], "--redis", url]) == 0
    assert f"forked from {old.id} at b by ada" in capfd.readouterr().out
    for id in (old.id, fork["id"], again["id"]):
        orchestrator.stop_workflow(id)
