"""A process that starts a workflow again believes which version starts get, until that changes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from orch import Orchestrator
from orch.errors import ConcurrencyRejected, InputError
from orch.settings import Settings

ROUNDS = 200  # of starts: each partition has its turn


def single(capability: str, **more: Any) -> dict[str, Any]:
    return {"name": "w", "steps": [{"id": "a", "capability": capability}], **more}


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings) -> Iterator[Orchestrator]:
    with Orchestrator(settings) as made:
        made.define_workflow("w", single("first"))
        yield made


@pytest.fixture
def other(settings: Settings, orchestrator: Orchestrator) -> Iterator[Orchestrator]:
    """As in another process: it knows nothing of what this one has read."""
    with Orchestrator(settings) as made:
        yield made


def start_in_all_partitions(orchestrator: Orchestrator) -> None:
    for _ in range(ROUNDS):
        orchestrator.start_workflow("w")


def version_of(orchestrator: Orchestrator, execution: str) -> str:
    return orchestrator.runtime.journal.record(execution).version


def round_trips(orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each from now on."""
    found: list[int] = []
    wire = orchestrator.runtime.journal.wire
    real = wire._execute
    monkeypatch.setattr(wire, "_execute", lambda *given: (found.append(1), real(*given))[1])
    return found


def test_a_start_of_what_was_started_before_is_one_round_trip(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(orchestrator.runtime.journal.keys), "partition", lambda self, _: 7)
    orchestrator.start_workflow("w")
    found = round_trips(orchestrator, monkeypatch)
    orchestrator.start_workflow("w")
    assert len(found) == 1


def test_what_another_process_defines_is_what_the_next_start_gets(
    orchestrator: Orchestrator, other: Orchestrator
) -> None:
    start_in_all_partitions(orchestrator)
    for number in range(30):
        defined = other.define_workflow("w", single(f"capability{number}")).version
        for _ in range(3):
            execution = orchestrator.start_workflow("w").id
            assert version_of(orchestrator, execution) == defined


def test_a_canary_that_another_process_begins_and_ends_counts_at_once(
    orchestrator: Orchestrator, other: Orchestrator
) -> None:
    first = version_of(orchestrator, orchestrator.start_workflow("w").id)
    start_in_all_partitions(orchestrator)
    canary = other.define_workflow("w", single("second"), canary=100).version
    for _ in range(5):
        assert version_of(orchestrator, orchestrator.start_workflow("w").id) == canary
    other.stop_canary("w")
    for _ in range(5):
        assert version_of(orchestrator, orchestrator.start_workflow("w").id) == first


def test_a_start_that_was_refused_once_leaves_one_execution_and_is_done(
    orchestrator: Orchestrator, other: Orchestrator, redis: Redis
) -> None:
    start_in_all_partitions(orchestrator)
    redis.delete("first", "second")
    defined = other.define_workflow("w", single("second")).version
    execution = orchestrator.start_workflow("w").id
    assert version_of(orchestrator, execution) == defined
    assert redis.llen("second") == 1
    started = [
        entry
        for entry in orchestrator.runtime.journal.history(execution)
        if entry.event == "started"
    ]
    assert len(started) == 1


def test_who_dies_before_he_can_tell_of_a_change_is_believed_after_a_while(
    orchestrator: Orchestrator, other: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_in_all_partitions(orchestrator)
    journal = other.runtime.journal
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "tell_choices_changed", lambda: None)
        defined = other.define_workflow("w", single("second")).version
    assert version_of(orchestrator, orchestrator.start_workflow("w").id) != defined
    monkeypatch.setattr("orch.control.catalog.BELIEVED", 0.0)
    for choice in orchestrator.manager._choices.values():
        object.__setattr__(choice, "until", 0.0)
    assert version_of(orchestrator, orchestrator.start_workflow("w").id) == defined


def test_the_word_of_a_partition_expires(orchestrator: Orchestrator, redis: Redis) -> None:
    keys = orchestrator.runtime.journal.keys
    assert all(0 < redis.ttl(keys.choices(number)) <= 3600 for number in range(keys.partitions))


def test_a_program_that_has_been_told_to_start_gets_what_was_defined_before_it_was_told(
    orchestrator: Orchestrator, settings: Settings
) -> None:
    code = (
        "import sys\n"
        "from orch import Orchestrator\n"
        "with Orchestrator(redis_url=sys.argv[1]) as orchestrator:\n"
        "    for line in sys.stdin:\n"
        "        for _ in range(20):\n"
        "            id = orchestrator.start_workflow('w').id\n"
        "        print(orchestrator.runtime.journal.record(id).version, flush=True)\n"
    )
    command = [sys.executable, "-c", code, str(settings.redis_url)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for number in range(20):
            defined = orchestrator.define_workflow("w", single(f"capability{number}")).version
            process.stdin.write("go\n")
            process.stdin.flush()
            assert process.stdout.readline().strip() == defined
        process.stdin.close()
        assert process.wait(20) == 0


def test_an_input_that_only_fits_what_was_defined_since_is_taken(
    orchestrator: Orchestrator, other: Orchestrator
) -> None:
    def needs(name: str) -> dict[str, Any]:
        return single("first", input={"type": "object", "required": [name]})

    orchestrator.define_workflow("w", needs("old"))
    for _ in range(ROUNDS):
        orchestrator.start_workflow("w", {"old": 1})
    defined = other.define_workflow("w", needs("new")).version
    execution = orchestrator.start_workflow("w", {"new": 1}).id
    assert version_of(orchestrator, execution) == defined
    with pytest.raises(InputError, match="new"):
        orchestrator.start_workflow("w", {"old": 1})


def test_a_start_is_not_rejected_for_a_limit_that_is_no_longer_defined(
    orchestrator: Orchestrator, other: Orchestrator
) -> None:
    one = {"limit": 1, "policy": "reject"}
    orchestrator.define_workflow("w", single("first", maxActive=one))
    for _ in range(ROUNDS):
        orchestrator.start_workflow("w").terminate()
    holds = orchestrator.start_workflow("w")
    with pytest.raises(ConcurrencyRejected):
        orchestrator.start_workflow("w")
    defined = other.define_workflow("w", single("second")).version
    assert version_of(orchestrator, orchestrator.start_workflow("w").id) == defined
    holds.terminate()
