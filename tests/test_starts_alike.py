"""Starts like others before them are written from a template: what users see is the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from redis import Redis

from orch import Orchestrator
from orch.control import manager as manager_module
from orch.control.alike import Alike
from orch.errors import InputError
from orch.journal.keys import Keys
from orch.journal.start_template import make_template
from orch.lists import list_of
from orch.settings import Settings

WORK = {"name": "w", "steps": [{"id": "a", "capability": "work"}]}


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings) -> Iterator[Orchestrator]:
    with Orchestrator(settings) as made:
        made.define_workflow("w", WORK)
        yield made


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Workflows of starts that are not written from a template, from now on."""
    found: list[str] = []
    real = manager_module.make_start

    def noted(journal: Any, plan: Any, key: str, *given: Any, **more: Any) -> Any:
        found.append(key)
        return real(journal, plan, key, *given, **more)

    monkeypatch.setattr(manager_module, "make_start", noted)
    return found


def start_once_in_each_partition(orchestrator: Orchestrator, **given: Any) -> None:
    """After that this process believes which version a start gets, wherever it lies."""
    keys = orchestrator.runtime.journal.keys
    left = set(range(keys.partitions))
    while left:
        left.discard(keys.partition(orchestrator.start_workflow("w", **given).id))


def messages(redis: Redis, queue: str = "work") -> int:
    return redis.llen(list_of(queue, 0))


def test_what_is_kept_of_one_is_what_is_kept_of_one_that_was_made(
    orchestrator: Orchestrator, made: list[str]
) -> None:
    journal = orchestrator.runtime.journal

    def kept(execution: str) -> Any:
        record = journal.redis.hgetall(journal.keys.record(execution))
        del record["created"]
        states = journal.redis.hgetall(journal.keys.steps(execution))
        history = [(e.event, e.path, e.detail) for e in journal.history(execution)]
        return record, sorted(states), history

    first = orchestrator.start_workflow("w", {"n": 1})
    start_once_in_each_partition(orchestrator)
    made.clear()
    second = orchestrator.start_workflow("w", {"n": 1})
    assert made == []
    assert kept(second.id) == kept(first.id)
    listed = [each.id for each in orchestrator.list_executions(workflow="w", limit=1000)]
    assert listed.count(second.id) == 1


def test_the_input_is_checked_as_ever(orchestrator: Orchestrator, made: list[str]) -> None:
    orchestrator.define_workflow("w", {**WORK, "input": {"type": "object", "required": ["n"]}})
    start_once_in_each_partition(orchestrator, input={"n": 1})
    for input in ({}, {"n": float("nan")}, {"n": object()}):
        with pytest.raises(InputError):
            orchestrator.start_workflow("w", input)
    told = orchestrator.start_workflow("w", {"n": "NaN, Infinity"})
    assert orchestrator.get_execution_status(told.id).input == {"n": "NaN, Infinity"}


def test_options_and_definitions_that_decide_how_one_begins_are_made_each_time(
    orchestrator: Orchestrator, made: list[str]
) -> None:
    start_once_in_each_partition(orchestrator)
    made.clear()
    for option in ({"priority": 3}, {"attributes": {"a": 1}}, {"project": "p"}, {"deadline": 60}):
        orchestrator.start_workflow("w", **option)  # type: ignore[arg-type]
    assert len(made) == 4
    orchestrator.start_workflow("w", priority=None, attributes=None)
    assert len(made) == 4
    for more in (
        {"attributes": {"who": "$.input.who"}},
        {"timeoutMs": 60_000},
        {"steps": [{"id": "a", "capability": "work", "condition": "$.input.who == 'x'"}]},
    ):
        orchestrator.define_workflow("w", {**WORK, **more})
        start_once_in_each_partition(orchestrator, input={"who": "y"})
        made.clear()
        orchestrator.start_workflow("w", {"who": "x"})
        assert made == ["w"], more


def test_who_is_to_be_told_of_starts_is_told(
    orchestrator: Orchestrator, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    start_once_in_each_partition(orchestrator)
    made.clear()
    monkeypatch.setattr(orchestrator.runtime.journal, "hears", lambda type: "started" in type)
    execution = orchestrator.start_workflow("w")
    journal = orchestrator.runtime.journal
    assert made == ["w"]
    assert journal.redis.hvals(journal.keys.outbox(journal.keys.partition(execution.id)))


def test_where_messages_do_not_go_with_the_start_each_is_sent_behind_it(
    orchestrator: Orchestrator, redis: Redis, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with RabbitMQ."""
    start_once_in_each_partition(orchestrator)
    made.clear()
    monkeypatch.setattr(orchestrator.runtime, "lists", None)
    before = messages(redis)
    orchestrator.start_workflow("w")
    assert (messages(redis), made) == (before + 1, [])


def test_a_script_that_redis_has_forgotten_is_given_again(
    orchestrator: Orchestrator, redis: Redis
) -> None:
    start_once_in_each_partition(orchestrator)
    redis.script_flush()
    execution = orchestrator.start_workflow("w")
    assert orchestrator.get_execution_status(execution.id).status == "running"
    assert [e.event for e in orchestrator.runtime.journal.history(execution.id)] == ["started"]


def test_no_more_of_them_are_kept_than_a_process_can_hold(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orch.control.alike.MOST_TEMPLATES", 3)
    start_once_in_each_partition(orchestrator)
    journal, alike = orchestrator.runtime.journal, Alike(orchestrator.runtime.journal)
    plan = orchestrator.runtime.plans.get(journal.record(orchestrator.start_workflow("w").id).plan)
    for number in range(10):
        assert alike.template(plan, f"w{number}", "") is not None
    assert len(alike._known) <= 3


def test_commands_that_differ_by_more_have_no_template(orchestrator: Orchestrator) -> None:
    keys = orchestrator.runtime.journal.keys

    def is_made(*said: str, keys: Keys = keys) -> bool:
        def pack(execution: str, now: int, input: str) -> list[Any]:
            known = {"id": execution, "now": now, "input": msgpack.packb([input]), "due": now + 5}
            return [known[word] for word in said]

        return make_template(keys, 1000, pack) is not None

    assert is_made("id", "now", "input") and is_made("input")
    assert not is_made("id", "now"), "the input is nowhere"
    assert not is_made("input", "input"), "the input is at two places"
    assert not is_made("input", "due"), "an instant of its own"
    assert not is_made("id", "input", keys=Keys("orch", 101)), "a partition of three digits"
