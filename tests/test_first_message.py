"""The first message of an execution goes with its start, in one write, where it is one alone."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from orch import Orchestrator
from orch.lists import list_of
from orch.settings import Settings

WORK = {"name": "w", "steps": [{"id": "a", "capability": "work"}]}


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings) -> Iterator[Orchestrator]:
    with Orchestrator(settings) as made:
        made.define_workflow("w", WORK)
        yield made


def messages(redis: Redis) -> int:
    return redis.llen(list_of("work", 0))


def writes(orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is written to the connections of the journal from now on, write by write."""
    found: list[bytes] = []
    pool: Any = orchestrator.runtime.journal.redis.connection_pool
    send = pool.connection_class.send_packed_command

    def noted(connection: Any, command: Any, *args: Any, **given: Any) -> Any:
        found.append(b"".join(command))
        return send(connection, command, *args, **given)

    monkeypatch.setattr(pool.connection_class, "send_packed_command", noted)
    return found


def test_it_is_one_write_with_the_script(
    orchestrator: Orchestrator, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    orchestrator.start_workflow("w")
    before, written = messages(redis), writes(orchestrator, monkeypatch)
    orchestrator.start_workflow("w")
    (start,) = [each for each in written if b"EVALSHA" in each]
    assert b"LPUSH" in start
    assert messages(redis) == before + 1


def test_the_first_start_of_a_process_sends_one_whether_redis_knows_the_script_or_not(
    orchestrator: Orchestrator, redis: Redis
) -> None:
    redis.script_flush()
    orchestrator.start_workflow("w")
    assert messages(redis) == 1


def test_it_comes_behind_an_execution_that_is_there_though_redis_has_forgotten_the_script(
    orchestrator: Orchestrator, redis: Redis
) -> None:
    orchestrator.start_workflow("w")
    redis.script_flush()
    execution = orchestrator.start_workflow("w")
    assert orchestrator.get_execution_status(execution.id).status == "running"
    assert messages(redis) == 3  # one went with the script that was not there


def test_a_start_of_a_key_that_was_used_sends_nothing(
    orchestrator: Orchestrator, redis: Redis
) -> None:
    first = orchestrator.start_workflow("w", idempotency_key="k")
    assert messages(redis) == 1
    assert orchestrator.start_workflow("w", idempotency_key="k").id == first.id
    assert messages(redis) == 1


def test_a_start_that_lies_ahead_sends_nothing(orchestrator: Orchestrator, redis: Redis) -> None:
    orchestrator.start_workflow("w", delay=3600)
    assert messages(redis) == 0


def test_it_is_written_as_if_it_were_compiled_each_time(
    orchestrator: Orchestrator, redis: Redis
) -> None:
    """But for its ids. What goes with it is left out, where the process knows it by heart."""
    runtime = orchestrator.runtime
    assert runtime.lists is not None
    plain = {"id": "a", "capability": "work", "next": "b"}
    last = {"id": "b", "capability": "other"}
    for number, (steps, chained) in enumerate(
        [
            ([{"id": "a", "capability": "work", "priority": 3}], False),
            ([{"id": "a", "capability": "work", "timeout": 5000}], False),
            ([plain, {**last, "capability": "work"}], False),
            ([plain, last], True),
        ]
    ):
        orchestrator.define_workflow("v", {"name": f"v{number}", "steps": steps})
        first, again = (orchestrator.start_workflow("v") for _ in range(2))
        plan = runtime.plans.get(str(runtime.journal.plan_of(first.id)))
        (path,) = (str(step["id"]) for step in steps[:1])
        for execution in (first.id, again.id):
            (found,) = runtime.first_message(plan, execution, (path,), 2)
            made = runtime._message(plan, execution, path, 2)
            wanted = runtime.lists.command(made)
            assert found[:2] == wanted[:2]
            assert _known(found[2], chained) == _known(wanted[2], chained)
        assert found[2] != runtime.first_message(plan, execution, (path,), 2)[0][2], "the same ids"


def _known(text: str, chained: bool) -> Any:
    """A message without the ids that it was given."""
    said = json.loads(text)
    args, given, embed = json.loads(base64.b64decode(said.pop("body")))
    ids = {said["properties"].pop("correlation_id"), said["headers"].pop("id")}
    ids.add(said["headers"].pop("root_id"))
    assert len(ids) == 1 and len(said["properties"].pop("delivery_tag")) == len(*ids) == 36
    links = embed.pop("chain") or []
    assert bool(links) == chained
    for link in links:
        link["options"].pop("task_id")
    return said, args, given, embed, links
