"""Webhooks: who is told of what happens, signed, until they have taken it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis

from orch import AsyncOrchestrator, Orchestrator
from orch.cli.app import run_command
from orch.control.runtime import Runtime
from orch.errors import InputError
from orch.escalation.delivery import deliver_notice
from orch.journal.journal import Journal
from orch.memory.lives import deliver_life
from orch.settings import Settings
from orch.signing import signature
from orch.webhooks.registry import MOST_WEBHOOKS, WebhookRegistry
from orch.webhooks.telling import FIRST_PAUSE, deliver_event
from orch.workflows.hearing import can_be_heard
from orch.workflows.notices import EMITTED
from tests.build import FakeClock, task
from tests.escalated import Played
from tests.served import Served

WAITS = {"steps": [{"id": "p", "type": "wait", "wait": {"duration": 3_600_000}}]}
REMEMBERED = ("paused", "resumed", "cancelled")
NOWHERE = "https://nowhere.example/hook"


class Told(Played):
    """An escalation of workflow `w`, and those that are told of it."""

    def __init__(self, journal: Journal) -> None:
        ladder: Any = [{"human": {"queue": "reviewers"}}]
        super().__init__(journal, task("deploy", escalation=ladder))
        self.runtime: Any = SimpleNamespace(settings=journal.settings, journal=journal)
        self.webhooks = WebhookRegistry(journal)

    def tell(self) -> str:
        return deliver_notice(self.runtime, self.told[-1][1])


# --- registered -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "heard"),
    [
        ("escalation.raised", True),
        ("escalation.*", True),
        ("execution.*", True),
        ("execution.failed", True),
        ("execution.claimed", False),
        ("*", True),
        ("event.order.paid", True),
        ("event.*", True),
        ("event.", False),
        ("step.failed", False),
        ("step.*", False),
        ("raised", False),
    ],
)
def test_only_what_is_told_can_be_asked_for(event: str, heard: bool) -> None:
    assert can_be_heard(event) is heard


def test_what_no_webhook_is_told_of_is_refused_with_what_there_is(
    orchestrator: Orchestrator,
) -> None:
    with pytest.raises(InputError, match=r"no webhook is told of 'step.failed'.*escalation.raised"):
        orchestrator.register_webhook("step.failed", NOWHERE)
    with pytest.raises(InputError, match="url: a webhook takes a URL of http or https"):
        orchestrator.register_webhook("escalation.*", "file:///etc/passwd")
    with pytest.raises(InputError, match="secret: String should match"):
        orchestrator.register_webhook("escalation.*", NOWHERE, secret="service.crm")
    assert orchestrator.list_webhooks() == []


def test_the_same_webhook_is_registered_once_and_its_fields_are_the_latest(
    orchestrator: Orchestrator,
) -> None:
    id = orchestrator.register_webhook("escalation.*", NOWHERE, by="ada")
    assert orchestrator.register_webhook("escalation.*", NOWHERE, timeout=3) == id
    other = orchestrator.register_webhook("escalation.*", NOWHERE, workflows=["w"])
    assert other != id
    found = {each.id: each for each in orchestrator.list_webhooks()}
    assert (set(found), found[id].timeout) == ({id, other}, 3)
    assert orchestrator.remove_webhook(id)
    assert not orchestrator.remove_webhook(id)
    assert [each.id for each in orchestrator.list_webhooks()] == [other]


def test_there_is_an_end_to_the_number_of_webhooks(journal: Journal) -> None:
    registry = WebhookRegistry(journal)
    for number in range(MOST_WEBHOOKS):
        registry.register("event.*", f"{NOWHERE}/{number}")
    with pytest.raises(InputError, match="no more may be"):
        registry.register("event.*", NOWHERE)
    assert registry.register("event.*", f"{NOWHERE}/0")


def test_who_asks_whether_anybody_hears_asks_redis_every_few_seconds(journal: Journal) -> None:
    def asked() -> int:
        return int(journal.redis.info("commandstats").get("cmdstat_hgetall", {}).get("calls", 0))  # type: ignore[union-attr]

    before = asked()
    assert not any(journal.hears("event.paid") for _ in range(100))
    assert asked() - before == 1
    WebhookRegistry(journal).register("event.p*", NOWHERE)
    assert journal.hears("event.paid")
    assert not journal.hears("event.sent")


# --- told -----------------------------------------------------------------------------------------


def test_an_escalation_is_told_signed_to_those_that_want_it(
    journal: Journal, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCH_SECRET_WEBHOOK_DESK", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    told = Told(journal)
    told.webhooks.register("escalation.raised", f"{served.url}/signed", secret="webhook.desk")
    told.webhooks.register("escalation.*", f"{served.url}/ours", workflows=["w"])
    told.webhooks.register("escalation.*", f"{served.url}/others", workflows=["x"])
    told.webhooks.register("escalation.resolved", f"{served.url}/later")
    told.fail("deploy")
    assert told.tell() == "raised to reviewers: x1:deploy"
    assert sorted(served.paths) == ["/ours", "/signed"]
    _, _, headers, content = next(each for each in served.seen if each[1] == "/signed")
    assert (content["type"], content["data"]["workflow"]) == ("escalation.raised", "w")
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    assert headers["webhook-signature"] == signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        headers["webhook-id"],
        int(headers["webhook-timestamp"]),
        body,
    )
    assert told.tell() == "done"


def test_a_webhook_that_does_not_take_it_is_told_again_and_the_others_are_not(
    journal: Journal, served: Served, clock: FakeClock
) -> None:
    served.answers = {"/busy": [(503, {}, b""), (204, {}, b"")], "/gone": (410, {}, b"")}
    told = Told(journal)
    for name in ("busy", "gone", "fine"):
        told.webhooks.register("escalation.raised", f"{served.url}/{name}")
    told.fail("deploy")
    assert "again in 5 s: webhook:wh_" in told.tell()
    assert sorted(served.paths) == ["/busy", "/fine", "/gone"]
    clock.advance(FIRST_PAUSE + 1)
    told.told.clear()
    told.look(0)
    assert told.tell() == "raised to reviewers: x1:deploy"
    assert served.paths[3:] == ["/busy"]
    ids = {headers["webhook-id"] for _, path, headers, _ in served.seen if path == "/busy"}
    assert len(ids) == 1


def test_a_webhook_without_its_secret_here_is_told_by_others(
    journal: Journal, served: Served
) -> None:
    told = Told(journal)
    told.webhooks.register("escalation.raised", served.url, secret="webhook.none")
    told.fail("deploy")
    assert "again in 5 s" in told.tell()
    assert served.seen == []


def test_an_event_is_told_under_the_same_id_by_whoever_lives(
    orchestrator: Orchestrator, served: Served
) -> None:
    runtime: Runtime = orchestrator.runtime
    orchestrator.register_webhook("event.order.*", served.url)
    orchestrator.trigger_event("order.paid", {"sum": 7}, correlation="o1", id="e:1")
    orchestrator.trigger_event("stock.low")
    (name,) = runtime.journal.redis.hkeys(_outbox(orchestrator))
    content = runtime.journal.take_notice(name, 0)  # by one that dies with it
    assert content is not None
    assert content["event"] == EMITTED
    assert deliver_event(runtime, name) == "event.order.paid"
    assert deliver_event(runtime, name) == "done"
    (seen,) = served.seen
    assert seen[3]["type"] == "event.order.paid"
    assert seen[3]["data"] == {
        "id": "e:1",
        "name": "order.paid",
        "payload": {"sum": 7},
        "correlation": "o1",
        "execution": "",
        "by": "",
    }


def _outbox(orchestrator: Orchestrator) -> str:
    journal = orchestrator.runtime.journal
    keys = [journal.keys.outbox(partition) for partition in range(journal.keys.partitions)]
    (found,) = (key for key in keys if journal.redis.exists(key))
    return found


def test_events_of_steps_and_programs_arrive_through_real_workers(
    orchestrator: Orchestrator, served: Served, wait_until: Callable[..., Any]
) -> None:
    orchestrator.register_webhook("event.*", served.url)
    orchestrator.register_webhook("execution.*", served.url)
    steps = [{"id": "say", "type": "event", "event": {"name": "said", "action": "emit"}}]
    orchestrator.define_workflow("w", {"name": "W", "steps": steps})
    orchestrator.trigger_event("before.workers")
    with orchestrator.workers(pool="solo", queues=["page_operations"]):
        assert orchestrator.start_workflow("w").wait(timeout=60).status == "completed"
        wait_until(lambda: len(served.seen) >= 4, timeout=60)
    assert {each[3]["type"] for each in served.seen} == {
        "event.before.workers",
        "event.said",
        "execution.started",
        "execution.completed",
    }


def test_what_becomes_of_an_execution_is_told_also_where_it_is_not_remembered(
    orchestrator: Orchestrator, served: Served
) -> None:
    runtime: Runtime = orchestrator.runtime
    orchestrator.register_webhook("execution.*", served.url, workflows=["w"])
    for name in ("w", "other"):
        orchestrator.define_workflow(name, WAITS | {"name": name})
        id = orchestrator.start_workflow(name).id
        assert orchestrator.pause_workflow(id, "lunch", by="ada")
        assert orchestrator.resume_workflow(id, by="ada")
        assert orchestrator.terminate_workflow(id, "enough", by="ada")
        notices = sorted(runtime.journal.redis.hkeys(_outbox(orchestrator)))
        assert [deliver_life(runtime, each).partition(":")[0] for each in notices] == [
            each.split(":")[2] for each in notices
        ]
        assert {deliver_life(runtime, each) for each in notices} == {"done"}
    told = {content["type"]: content["data"] for _, _, _, content in served.seen}
    assert set(told) == {f"execution.{each}" for each in ("started", *REMEMBERED)}
    assert len(served.seen) == len(told)
    paused, cancelled = told["execution.paused"], told["execution.cancelled"]
    assert (paused["by"], paused["reason"], paused["workflow"]) == ("ada", "lunch", "w")
    assert cancelled["error"]["message"] == "enough"
    assert "plan" not in cancelled
    found = orchestrator.search_memory(tag="workflow:w", prefix="ORCH:WORKFLOW:")
    words = {tag for each in found for tag in each.tags if tag.startswith("event:")}
    assert {f"event:{each}" for each in REMEMBERED} <= words
    assert "event:started" not in words


# --- the faces ------------------------------------------------------------------------------------


def test_coroutines_register_list_and_remove(redis: Redis, settings: Settings) -> None:
    async def use() -> None:
        async with AsyncOrchestrator(settings) as made:
            id = await made.register_webhook("event.*", NOWHERE)
            assert [each.id for each in await made.list_webhooks()] == [id]
            assert await made.remove_webhook(id)

    asyncio.run(use())


def test_the_command_line_adds_lists_tests_and_removes(
    orchestrator: Orchestrator, served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str, code: int = 0) -> str:
        url = str(orchestrator.settings.redis_url)
        assert run_command(["webhook", *arguments, "--redis", url]) == code
        return capfd.readouterr().out

    added = run("add", "event.*", f"{served.url}/x", "--workflow", "w", "--timeout", "5s")
    id = added.strip()
    assert id.startswith("wh_")
    assert f"{served.url}/x" in run("list")
    assert json.loads(run("list", "--json"))[0]["timeout"] == 5
    assert run("test", id) == f"webhook {id} has taken a sample\n"
    assert served.seen[0][3]["type"] == "webhook.test"
    served.answers = {"/x": (500, {}, b"")}
    assert json.loads(run("test", id, "--json", code=1))["delivered"] is False
    assert run("add", "step.failed", served.url, code=2) == ""
    assert run("remove", id) == f"removed: {id}\n"
    assert run("test", id, code=2) == ""
    assert run("list", "--json") == "[]\n"
