"""Steps whose agent is chosen when they are sent: by a key, by versions, by who is there."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch import Execution, Orchestrator
from orch.control.workers import WorkerProcesses
from orch.errors import InvalidWorkflow, NotFound
from orch.journal.journal import Journal
from orch.settings import Settings
from orch.workflows.agents import agent_queue
from orch.workflows.canvas import compile_canvas
from orch.workflows.declared import Declared
from orch.workflows.validation import validate_document
from tests.build import parallel, plan_of, task

CODE = """
import os
from orch import capability

@capability("lint", version="{version}")
def lint(text: str = ""):
    return os.getpid()

@capability("test")
def test():
    return os.getpid()
"""

WaitUntil = Callable[..., Any]


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings) -> Iterator[Orchestrator]:
    with Orchestrator(settings) as made:
        yield made
    redis.flushall()  # queues and bindings of the workers


def staff(
    orchestrator: Orchestrator, tmp_path: Path, count: int = 1, version: str = "1.0.0"
) -> WorkerProcesses:
    code = tmp_path / f"placed_{version.replace('.', '_')}.py"
    code.write_text(CODE.replace("{version}", version))
    return orchestrator.workers(include=[str(code)], count=count, concurrency=1, pool="solo")


def start(orchestrator: Orchestrator, *steps: dict[str, Any], **given: Any) -> Execution:
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        step["output"] = {f"by_{step['id']}": "$.output"}
        step["next"] = following and following["id"]
    orchestrator.define_workflow("w", {"name": "w", "steps": list(steps)})
    return orchestrator.start_workflow("w", given)


def lint(id: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "capability": "lint", **more}


def live(journal: Journal, name: str, offers: dict[str, Any], **said: Any) -> None:
    """A worker that says that it lives, and does nothing."""
    profile = journal.keep_profile(offers)
    content = {"id": name, "name": name, "queues": list(offers), "holds": [], "profile": profile}
    journal.renew_worker(name, json.dumps(content | said), 60_000)


class TestAffinity:
    @pytest.mark.slow
    def test_steps_of_a_key_go_to_one_agent_and_to_another_when_it_dies_or_is_drained(
        self, orchestrator: Orchestrator, tmp_path: Path, wait_until: WaitUntil
    ) -> None:
        def run(key: str) -> int:
            step = {"capability": "lint", "affinity": "$.input.repo"}
            steps = [{"id": f"s{n}", **step} for n in range(4)]
            steps.append({"id": "t", "capability": "test", "affinity": "${$.input.repo}"})
            done = start(orchestrator, *steps, repo=key).wait(timeout=30)
            (pid,) = set(done.variables.values())
            return int(pid)

        with staff(orchestrator, tmp_path, count=3) as workers:
            names = {w["pid"]: w["name"] for w in orchestrator.runtime.journal.live_workers()}
            by = {key: run(key) for key in map(str, range(8))}
            assert len(set(by.values())) > 1
            assert {key: run(key) for key in by} == by
            first, second = by["0"], next(pid for pid in by.values() if pid != by["0"])
            orchestrator.drain_agent(names[first], stay=True, timeout=30)
            drained = {key: run(key) for key in by}
            assert first not in drained.values()
            assert all(drained[key] == pid for key, pid in by.items() if pid != first)
            killed = next(p for p in workers.processes if p.pid == second)
            killed.send_signal(signal.SIGKILL)
            (third,) = {run(key) for key in by}
            assert third not in (first, second)

    def test_a_key_that_is_null_and_one_that_cannot_be_known_are_none(
        self, orchestrator: Orchestrator
    ) -> None:
        live(orchestrator.runtime.journal, "a@h", {"lint": {}})
        for affinity in ("$.input.nothing", "$.input.list[7].name > 3"):
            execution = start(orchestrator, lint("s", affinity=affinity), list=[])
            place = orchestrator.runtime.placing.place(*self.of(orchestrator, execution))
            assert (place.queue, place.why) == ("lint", "")

    def test_without_a_known_agent_it_waits_in_the_common_queue_and_why_tells_the_key(
        self, orchestrator: Orchestrator
    ) -> None:
        step = lint("s", affinity="${$.input.repo}/main")
        execution = start(orchestrator, step, repo="r")
        said = orchestrator.manager.why(execution.id).waiting_for["s"]
        assert "no live worker serves 'lint'" in said
        assert 'its affinity "r/main" is with nobody yet' in said
        journal = orchestrator.runtime.journal
        live(journal, "a@h", {"lint": {}, "test": {}})
        placing = orchestrator.runtime.placing
        placing.forget()
        plan, id, path = self.of(orchestrator, execution)
        assert placing.queue_of(plan, id, path) == agent_queue("a@h")
        assert "is with a@h" in orchestrator.manager.why(execution.id).waiting_for["s"]

    def test_who_does_one_step_of_a_key_does_the_others_whatever_their_capability(
        self, journal: Journal
    ) -> None:
        assert journal.stick("k", "lint", ["a", "b"], "b") == "b"
        assert journal.stick("k", "lint", ["a", "b"], "a") == "b"
        assert journal.stick("k", "test", ["a", "b"], "a") == "b"
        assert journal.stick("k", "deploy", ["a"], "a") == "a"
        assert journal.stick("k", "lint", ["a"], "a") == "a"
        assert journal.stuck("k") == {"lint": "a", "test": "b", "deploy": "a"}

    @staticmethod
    def of(orchestrator: Orchestrator, execution: Execution) -> tuple[Any, str, str]:
        runtime = orchestrator.runtime
        key = runtime.journal.plan_of(execution.id)
        assert key is not None
        return runtime.plans.get(key), execution.id, "s"


class TestVersions:
    @pytest.mark.slow
    def test_a_step_goes_to_an_agent_of_its_range_and_waits_for_one(
        self, orchestrator: Orchestrator, tmp_path: Path, wait_until: WaitUntil
    ) -> None:
        with staff(orchestrator, tmp_path, version="1.4.0") as old:
            asked = lint("s", capabilityVersion=">=2,<3")
            waiting = start(orchestrator, asked)
            said = orchestrator.manager.why(waiting.id).waiting_for["s"]
            assert "no live agent serves 'lint' in a version >=2,<3 that fits" in said
            assert ": version 1.4.0" in said
            with staff(orchestrator, tmp_path, version="2.1.0") as new:
                assert waiting.wait(timeout=30).variables["by_s"] == new.processes[0].pid
                for text, worker in (("<2", old), (">=2", new)):
                    steps = [lint(f"s{n}", capabilityVersion=text) for n in range(4)]
                    done = start(orchestrator, *steps).wait(timeout=30)
                    assert set(done.variables.values()) == {worker.processes[0].pid}

    def test_a_range_that_all_serve_is_sent_to_their_common_queue(
        self, orchestrator: Orchestrator
    ) -> None:
        journal, placing = orchestrator.runtime.journal, orchestrator.runtime.placing
        plan = plan_of(task("s", capability="lint", capabilityVersion=">=1", input={"text": "a"}))
        live(journal, "a@h", {"lint": {"version": "1.2.0"}})
        live(journal, "b@h", {"lint": {"version": "1.3.0"}})
        assert placing.queue_of(plan, "x", "s") == "lint"
        closed = {"properties": {"path": {}}, "additionalProperties": False}
        live(journal, "a@h", {"lint": {"version": "1.2.0", "input": closed}})
        placing.forget()
        assert placing.queue_of(plan, "x", "s") == agent_queue("b@h")
        live(journal, "b@h", {"lint": {"version": "1.3.0", "input": {"required": ["path"]}}})
        placing.forget()
        place = placing.place(plan, "x", "s")
        assert place.queue is None
        assert "a@h: its input does not take text; b@h: its input needs path" in place.why

    def test_a_step_is_given_to_no_other_agent_that_has_another_version(
        self, orchestrator: Orchestrator
    ) -> None:
        journal = orchestrator.runtime.journal
        live(journal, "old@h", {"lint": {"version": "1.0.0"}})
        live(journal, "new@h", {"lint": {"version": "2.0.0"}})
        steps = [
            task("s", capability="lint", **more) for more in ({"capabilityVersion": ">=2"}, {})
        ]
        found = [orchestrator.runtime.advancer.agents_for(plan_of(step), "s") for step in steps]
        assert [sorted(a.name for a in agents) for agents in found] == [
            ["new@h"],
            ["new@h", "old@h"],
        ]

    def test_one_that_nobody_serves_fails_after_its_schedule_timeout(
        self, orchestrator: Orchestrator, tmp_path: Path
    ) -> None:
        with staff(orchestrator, tmp_path):
            step = lint("s", capabilityVersion=">=9", scheduleTimeout=500)
            ended = start(orchestrator, step).wait(timeout=30)
        assert ended.error is not None
        assert ended.error["name"] == "ScheduleTimeout"

    def test_a_range_that_no_worker_has_is_a_finding_and_one_that_is_none_an_error(self) -> None:
        asked = {"name": "w", "steps": [lint("s", capabilityVersion=">=2")]}
        known = {"lint": Declared(version="1.4.0")}
        _, findings = validate_document(asked, known_declared=known)
        (found,) = [f for f in findings if f.path == "steps[0].capabilityVersion"]
        assert "the worker that started last has 1.4.0" in found.message
        _, findings = validate_document({"name": "w", "steps": [lint("s", capabilityVersion="2")]})
        assert any("is no range of versions" in f.message for f in findings)


class TestBackup:
    def test_the_first_that_lives_stands_in_for_an_agent_that_does_not(
        self, orchestrator: Orchestrator, tmp_path: Path
    ) -> None:
        with staff(orchestrator, tmp_path) as workers:
            (said,) = orchestrator.runtime.journal.live_workers()
            step = lint("s", agent="gone", backup=["gone_too@h", said["name"]])
            assert start(orchestrator, step).wait(timeout=30).variables == {
                "by_s": workers.processes[0].pid
            }

    def test_where_none_of_them_lives_the_agent_is_waited_for_and_why_says_so(
        self, orchestrator: Orchestrator
    ) -> None:
        execution = start(orchestrator, lint("s", agent="gone", backup=["too"]))
        said = orchestrator.manager.why(execution.id).waiting_for["s"]
        assert "called 'gone'" in said and "not there: gone, too" in said

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"backup": ["b"]}, "stands in for an `agent`"),
            ({"agent": "a", "affinity": "k"}, "`agent` names an agent"),
            ({"agent": "a", "capabilityVersion": ">=2"}, "`agent` names an agent"),
            ({"external": True, "affinity": "k"}, "for tasks that workers do"),
        ],
    )
    def test_what_contradicts_itself_is_refused(
        self, orchestrator: Orchestrator, given: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(InvalidWorkflow, match=message):
            orchestrator.define_workflow("w", {"name": "w", "steps": [lint("s", **given)]})


class TestCoordinator:
    def test_who_would_be_chosen_is_shown_with_why_others_would_not(
        self, orchestrator: Orchestrator
    ) -> None:
        journal = orchestrator.runtime.journal
        live(journal, "idle@h", {"lint": {"version": "2.0.0"}}, concurrency=4)
        live(journal, "old@h", {"lint": {"version": "1.0.0"}})
        live(journal, "failed@h", {"lint": {"version": "2.0.0"}}, tally={"lint": [10, 5, 1.0]})
        found = orchestrator.choose_agent("lint", versions=">=2", failed=["failed@h"])
        assert [(c.agent, c.chosen, c.why_not) for c in found] == [
            ("idle@h", True, ""),
            ("old@h", False, "version 1.0.0"),
            ("failed@h", False, "has failed at it"),
        ]
        assert [c.success_rate for c in found] == [1.0, 1.0, 0.5]
        with pytest.raises(NotFound, match="no live agent serves the capability 'nothing'"):
            orchestrator.choose_agent("nothing")

    def test_what_waits_for_a_dead_agent_goes_to_others_where_they_may_do_it(
        self, orchestrator: Orchestrator
    ) -> None:
        runtime = orchestrator.runtime
        live(runtime.journal, "a@h", {"lint": {}})
        keyed = start(orchestrator, lint("s", affinity="k"))
        pinned = start(orchestrator, lint("s", agent="a@h"))
        (before,) = orchestrator.balance_agents()
        assert (before.agent, before.waiting, before.overloaded) == ("a@h", 2, True)
        runtime.journal.remove_worker("a@h")
        live(runtime.journal, "b@h", {"lint": {}})
        gone, there = orchestrator.balance_agents(move=True)
        assert (gone.agent, gone.status, gone.moved, gone.kept) == ("a@h", "gone", 1, 1)
        assert (there.agent, there.status) == ("b@h", "online")
        waiting = {each.agent: each.waiting for each in orchestrator.balance_agents()}
        assert waiting == {"a@h": 1, "b@h": 1}
        for execution, agent in ((keyed, "b@h"), (pinned, "a@h")):
            assert agent in orchestrator.manager.why(execution.id).waiting_for["s"]

    def test_of_an_overloaded_agent_what_asks_for_versions_goes_to_another(
        self, orchestrator: Orchestrator
    ) -> None:
        runtime = orchestrator.runtime
        new, old = {"lint": {"version": "2.0.0"}}, {"lint": {"version": "1.0.0"}}
        live(runtime.journal, "old@h", old)
        live(runtime.journal, "a@h", new)
        for _ in range(3):
            start(orchestrator, lint("s", capabilityVersion=">=2"))
        live(runtime.journal, "b@h", new)
        found = {each.agent: each for each in orchestrator.balance_agents(move=True)}
        assert (found["a@h"].overloaded, found["a@h"].moved) == (True, 3)


def test_a_step_that_roams_begins_a_message_of_its_own_and_is_never_bundled() -> None:
    plan = plan_of(task("a", "b"), task("b", "c", affinity="k"), task("c"))
    (first,) = compile_canvas(plan, "x", ["a"], handoff="auto")
    assert first.args[1] == "a" and not hasattr(first, "tasks")
    (chain,) = compile_canvas(plan, "x", ["b"], queues={"b": "agent.z"})
    assert [link.options["queue"] for link in chain.tasks] == ["agent.z", "work"]
    many = plan_of(parallel("p", *[[task("s", affinity="k")] for _ in range(20)]))
    (chord,) = compile_canvas(many, "x", [f"p/{n}/s" for n in range(20)], handoff="auto")
    assert len(chord.tasks) == 20
