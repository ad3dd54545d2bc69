"""Notices are delivered: each hook hears of each once it can, and holds nobody up."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis

from orch import Orchestrator
from orch.errors import Unreachable
from orch.escalation.delivery import deliver_notice
from orch.journal.journal import Journal
from orch.settings import Settings
from orch.webhooks.telling import MOST_TRIES
from tests.build import task
from tests.escalated import HOUR, Played

WRITE = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + '\\n')"
FAIL = "import sys; open(sys.argv[1], 'a').write('x'); sys.exit(1)"


def writes(path: Path, name: str = "book", code: str = WRITE, **more: Any) -> dict[str, Any]:
    argv = [sys.executable, "-c", code, str(path)]
    return {"name": name, "kind": "command", "argv": argv, **more}


class Told(Played):
    """An escalation to a person, and hooks that want to hear of it."""

    def __init__(self, journal: Journal, settings: Settings, *hooks: dict[str, Any]) -> None:
        ladder = [{"human": {"queue": "reviewers", "remindEvery": "1h"}}]
        super().__init__(journal, task("deploy", escalation=ladder))
        given = Settings.model_validate({"redis_url": settings.redis_url, "hooks": list(hooks)})
        self.runtime: Any = SimpleNamespace(settings=given, journal=journal)
        self.fail("deploy")

    def deliver(self) -> str:
        return deliver_notice(self.runtime, self.told[-1][1])


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_hook_hears_of_it_once(journal: Journal, settings: Settings, tmp_path: Path) -> None:
    book = tmp_path / "book"
    told = Told(journal, settings, writes(book))
    assert told.deliver().startswith("raised to reviewers")
    assert told.deliver() == "done"
    (heard,) = lines(book)
    assert (heard["data"]["event"], heard["data"]["path"]) == ("raised", "deploy")


def test_a_hook_that_fails_is_told_again_and_the_others_are_not(
    journal: Journal, settings: Settings, tmp_path: Path
) -> None:
    book, tries = tmp_path / "book", tmp_path / "tries"
    told = Told(journal, settings, writes(tries, "broken", FAIL), writes(book))
    assert "again in 5 s: broken" in told.deliver()
    assert told.deliver() == "done" or tries.read_text() == "xx"
    for _ in range(MOST_TRIES + 2):
        told.look(HOUR)
        for _, notice in [each for each in told.told if each[0] == "raised"][-1:]:
            deliver_notice(told.runtime, notice)
    assert len(tries.read_text()) == MOST_TRIES
    assert len([each for each in lines(book) if each["data"]["event"] == "raised"]) == 1


def test_the_ladder_waits_for_no_hook(journal: Journal, settings: Settings, tmp_path: Path) -> None:
    told = Told(journal, settings, writes(tmp_path / "tries", "broken", FAIL))
    told.deliver()
    told.look(HOUR)
    assert told.record("deploy").reminders == 1
    told.rule("deploy", "skip", value=1)
    assert told.ended() == "completed"


def test_what_a_dead_worker_was_delivering_is_delivered_by_another(
    journal: Journal, settings: Settings, tmp_path: Path
) -> None:
    book = tmp_path / "book"
    told = Told(journal, settings, writes(book))
    notice = told.told[-1][1]
    assert journal.take_notice(notice, 30_000) is not None  # and then it was killed
    assert told.deliver() == "done"
    told.look(30_000)
    assert told.told[-1][1] == notice
    told.deliver()
    assert len(lines(book)) == 1


def test_workers_deliver_what_is_told(
    redis: Redis, settings: Settings, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    book = tmp_path / "book"
    hooks = json.dumps([writes(book, queues=["leads"])])
    definition = {
        "name": "w",
        "steps": [{"id": "ask", "capability": "human_approval", "input": {"queue": "leads"}}],
    }
    with Orchestrator(settings) as orchestrator:
        orchestrator.define_workflow("w", definition)
        environment = {"ORCH_HOOKS": hooks}
        with orchestrator.workers(concurrency=1, pool="threads", environment=environment):
            execution = orchestrator.start_workflow("w")
            wait_until(lambda: len(lines(book)) == 1)
            orchestrator.decide_escalation(f"{execution.id}:ask", "answer", "yes", by="ada")
            wait_until(lambda: len(lines(book)) == 2)
    first, second = (each["data"] for each in lines(book))
    assert (first["event"], second["event"], second["by"]) == ("raised", "resolved", "ada")


def test_where_redis_is_away_the_notice_stays(journal: Journal, settings: Settings) -> None:
    told = Told(journal, settings)
    lost = SimpleNamespace(settings=settings, journal=Journal(journal.redis, settings))

    def away(*_: Any) -> Any:
        raise Unreachable("away")

    lost.journal.take_notice = away  # type: ignore[method-assign]
    with pytest.raises(Unreachable):
        deliver_notice(lost, told.told[-1][1])  # type: ignore[arg-type]
    assert journal.read_notice(told.told[-1][1]) is not None
