"""Agents outside of Celery: registered, posted to, or asking; and tasks without a workflow."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from orch import Orchestrator
from orch.agents import pushing
from orch.agents.pushing import push_task
from orch.errors import AlreadyReported, InputError, NotFound, SettingsError
from orch.journal.external import OpenTask
from orch.signing import signature
from orch.workflows.external import TaskId

SECRET = "a key that nobody knows"


class Endpoint:
    """An agent at the end of a URL. ``answers``: what it says, one after the other, the last one
    for ever: (status, body)."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str]] = [(202, "")]
        self.posts: list[tuple[dict[str, str], str]] = []
        agent = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                agent.posts.append(({k.lower(): v for k, v in self.headers.items()}, body))
                first = agent.answers.pop(0) if len(agent.answers) > 1 else agent.answers[0]
                self.send_response(first[0])
                self.end_headers()
                self.wfile.write(first[1].encode())

            def log_message(self, format: str, *args: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/tasks"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def task(self, at: int = -1) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.posts[at][1])["data"]
        return found


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    yield made
    made.server.shutdown()
    made.server.server_close()


def opened(orchestrator: Orchestrator) -> OpenTask:
    (found,) = orchestrator.runtime.journal.open_tasks()
    return found


def push(orchestrator: Orchestrator) -> str:
    """Do what a worker does that is told of an open task."""
    task = opened(orchestrator)
    return push_task(
        orchestrator.runtime, str(TaskId(task.execution, task.path, task.state.attempt))
    )


# --- registered -------------------------------------------------------------------------------


def test_an_agent_that_is_registered_is_listed_with_what_it_offers(
    orchestrator: Orchestrator,
) -> None:
    offered = [{"name": "translate", "version": "2.1.0", "input": {"type": "object"}}, "proofread"]
    assert orchestrator.register_agent({"name": "mt", "type": "llm"}, offered) == "mt"
    (found,) = orchestrator.list_agents()
    assert (found.id, found.type, found.status, found.outside) == ("mt", "llm", "online", True)
    assert found.versions == {"translate": "2.1.0", "proofread": "1.0.0"}
    translate, _ = orchestrator.get_agent_capabilities("mt")
    assert translate.input == {"type": "object"}
    assert [each.name for each in orchestrator.find_agents_by_capability("proofread")] == ["mt"]
    orchestrator.unregister_agent("mt")
    assert orchestrator.list_agents() == []
    with pytest.raises(NotFound, match="no agent outside of Celery is registered as 'mt'"):
        orchestrator.unregister_agent("mt")


def test_one_with_a_ttl_is_offline_without_heartbeats(orchestrator: Orchestrator) -> None:
    orchestrator.register_agent({"name": "mt", "ttl": 60}, ["translate"])
    journal = orchestrator.runtime.journal
    now = journal.clock()
    orchestrator.heartbeat_agent("mt", load=1.0)
    assert orchestrator.get_agent("mt").status == "busy"
    journal.clock = lambda: now + 61_000
    assert orchestrator.get_agent("mt").status == "offline"
    assert orchestrator.find_agents_by_capability("translate") == []
    orchestrator.heartbeat_agent("mt")
    assert orchestrator.get_agent("mt").status == "online"
    with pytest.raises(NotFound, match="registered as 'nobody'"):
        orchestrator.heartbeat_agent("nobody")


@pytest.mark.parametrize(
    ("agent", "capabilities", "message"),
    [
        ("a b", ["c"], "name: String should match"),
        ({"name": "a", "url": "ftp://host"}, ["c"], "url"),
        ({"name": "a", "secret_env": "AWS_SECRET_ACCESS_KEY"}, ["c"], "secret_env"),
        ({"name": "a", "colour": 1}, ["c"], "colour"),
        ("a", [], "1 to 1000 capabilities"),
        ("a", ["no name"], "a capability of agent 'a'"),
        ("a", [{"name": "c", "speed": 1}], "speed"),
    ],
)
def test_what_cannot_be_registered_is_refused(
    orchestrator: Orchestrator, agent: Any, capabilities: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        orchestrator.register_agent(agent, capabilities)
    with pytest.raises(SettingsError, match="a semantic version"):
        orchestrator.register_agent("a", [{"name": "c", "version": "1"}])


# --- posted to --------------------------------------------------------------------------------


def test_a_task_is_posted_signed_and_what_is_answered_is_its_output(
    orchestrator: Orchestrator, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCH_AGENT_KEY", SECRET)
    endpoint.answers = [(200, '{"output": {"text": "Hallo"}}')]
    orchestrator.register_agent(
        {"name": "mt", "url": endpoint.url, "secret_env": "ORCH_AGENT_KEY"}, ["translate"]
    )
    task = orchestrator.assign_task("mt", {"capability": "translate", "input": {"text": "Hello"}})
    assert (task.status, task.agent_id, task.retry_count) == ("assigned", "mt", 0)
    assert push(orchestrator) == "completed"
    sent = endpoint.task()
    assert (sent["capability"], sent["input"]) == ("translate", {"text": "Hello"})
    headers, body = endpoint.posts[0]
    stamp = int(headers["webhook-timestamp"])
    assert headers["webhook-signature"] == signature(SECRET, headers["webhook-id"], stamp, body)
    done = orchestrator.get_task_status(task.id)
    assert (done.status, done.result) == ("completed", {"text": "Hallo"})
    assert orchestrator.execution(task.id).status().status == "completed"
    figures = orchestrator.get_agent("mt")
    assert (figures.task_count, figures.success_rate) == (1, 1.0)


def test_an_agent_that_takes_a_task_is_not_sent_it_again_and_reports_later(
    orchestrator: Orchestrator, endpoint: Endpoint
) -> None:
    orchestrator.register_agent({"name": "mt", "url": endpoint.url}, ["translate"])
    task = orchestrator.assign_task("mt", {"capability": "translate"})
    assert [push(orchestrator), push(orchestrator)] == ["taken", "accepted"]
    assert len(endpoint.posts) == 1
    sent = endpoint.task()["task"]
    orchestrator.heartbeat_task(sent, "half")
    assert orchestrator.get_task_status(task.id).status == "running"
    orchestrator.fail_task(task.id, "Untranslatable", "no words")
    failed = orchestrator.get_task_status(task.id)
    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error["name"] == "Untranslatable"
    with pytest.raises(AlreadyReported):
        orchestrator.complete_task(sent, 1)
    assert orchestrator.get_agent("mt").success_rate == 0.0


def test_one_that_does_not_answer_is_tried_again_and_then_the_attempt_fails(
    orchestrator: Orchestrator, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint.answers = [(503, "")]
    orchestrator.register_agent({"name": "mt", "url": endpoint.url, "tries": 3}, ["translate"])
    retry = {"max_attempts": 2, "interval": 3_600_000}
    task = orchestrator.assign_task("mt", {"capability": "translate", "retry": retry})
    journal, now = orchestrator.runtime.journal, orchestrator.runtime.journal.clock()
    assert push(orchestrator) == "answers with HTTP 503; again in 1 s"
    assert push(orchestrator) == "held"
    journal.clock = lambda: now + 10_000
    assert push(orchestrator) == "answers with HTTP 503; again in 2 s"
    journal.clock = lambda: now + 20_000
    assert push(orchestrator).startswith("failed: AgentUnreachable: agent 'mt' answers with HTTP")
    assert orchestrator.get_task_status(task.id).status == "assigned"
    (step,) = orchestrator.execution(task.id).status().steps
    assert step.status == "retrying"  # as any step with `retry`
    ids = {headers["webhook-id"] for headers, _ in endpoint.posts}
    assert (len(endpoint.posts), len(ids)) == (3, 1)


def test_one_that_refuses_or_is_not_there_fails_the_attempt(
    orchestrator: Orchestrator, endpoint: Endpoint
) -> None:
    def outcome(**more: Any) -> tuple[str, str]:
        agent = {"name": "mt", "url": endpoint.url, "tries": 1} | more
        orchestrator.register_agent(agent, ["translate"])
        task = orchestrator.assign_task("mt", {"capability": "translate"})
        push(orchestrator)
        found = orchestrator.get_task_status(task.id)
        assert found.error is not None
        return found.error["name"], found.error["message"]

    endpoint.answers = [(400, "")]
    assert outcome() == ("AgentRefused", "agent 'mt' answers with HTTP 400")
    endpoint.answers = [(200, '{"error": {"name": "TooLong", "message": "9 pages"}}')]
    assert outcome() == ("TooLong", "9 pages")
    name, message = outcome(secret_env="ORCH_AGENT_MISSING")
    assert (name, "ORCH_AGENT_MISSING, which is not set" in message) == ("AgentRefused", True)
    name, message = outcome(url="http://127.0.0.1:1/")
    assert (name, "does not answer: ConnectionRefused" in message) == ("AgentUnreachable", True)


def test_who_died_while_posting_is_followed_by_another(
    orchestrator: Orchestrator, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    orchestrator.register_agent({"name": "mt", "url": endpoint.url}, ["translate"])
    orchestrator.assign_task("mt", {"capability": "translate"})
    with monkeypatch.context() as broken:
        broken.setattr(pushing._Push, "_post", _die)
        with pytest.raises(KeyboardInterrupt):
            push(orchestrator)
    journal, now = orchestrator.runtime.journal, orchestrator.runtime.journal.clock()
    assert push(orchestrator) == "held"
    journal.clock = lambda: now + 16_000
    assert (opened(orchestrator).execution, opened(orchestrator).path) in journal.take_due()[1]
    assert push(orchestrator) == "taken"


def _die(self: Any) -> Any:
    raise KeyboardInterrupt


def test_workers_post_what_a_workflow_gives_to_an_agent(
    orchestrator: Orchestrator, endpoint: Endpoint
) -> None:
    endpoint.answers = [(503, ""), (200, '{"output": 42}')]
    orchestrator.register_agent({"name": "mt", "url": endpoint.url}, ["translate"])
    step = {"id": "a", "capability": "translate", "agent": "mt", "external": True}
    step["output"] = {"found": "$.output"}
    orchestrator.define_workflow("w", {"name": "w", "steps": [step]})
    with orchestrator.workers(concurrency=1, pool="solo"):
        ended = orchestrator.start_workflow("w").wait(timeout=30)
    assert (ended.status, ended.variables) == ("completed", {"found": 42})
    assert len(endpoint.posts) == 2


def test_an_agent_that_is_not_registered_is_warned_of_and_named_where_its_task_waits(
    orchestrator: Orchestrator,
) -> None:
    step = {"id": "a", "capability": "c", "agent": "nobody", "external": True}
    made = orchestrator.define_workflow("w", {"name": "w", "steps": [step]})
    (found,) = (each for each in made.warnings if each.path == "steps[0].agent")
    assert "no agent outside is registered as 'nobody'" in found.message
    started = orchestrator.start_workflow("w")
    assert "agent 'nobody' to report task" in started.status().waiting_for["a"]
    assert push(orchestrator) == "waits to be asked for"


# --- that asks --------------------------------------------------------------------------------


def test_an_agent_without_a_url_asks_for_what_it_may_do(orchestrator: Orchestrator) -> None:
    for name in ("one", "two"):
        orchestrator.register_agent(name, ["translate"])
    mine = orchestrator.assign_task("one", {"capability": "translate", "input": 1})
    orchestrator.assign_task("two", {"capability": "translate", "input": 2})
    found = orchestrator.list_tasks("translate", agent="one")
    assert [(each.execution, each.agent, each.input) for each in found] == [(mine.id, "one", 1)]
    assert orchestrator.complete_task(found[0].id, "done", by="one")
    assert orchestrator.get_task_status(mine.id).result == "done"


# --- tasks without a workflow -----------------------------------------------------------------

CODE = """
from orch import capability

@capability("double")
def double(number: int) -> int:
    return 2 * number
"""


def test_a_task_of_a_worker_is_done_by_it(orchestrator: Orchestrator, tmp_path: Path) -> None:
    code = tmp_path / "outside_code.py"
    code.write_text(CODE)
    with orchestrator.workers(include=[str(code)], concurrency=1, pool="solo"):
        (agent,) = orchestrator.find_agents_by_capability("double")
        task = orchestrator.assign_task(agent.id, {"capability": "double", "input": {"number": 4}})
        orchestrator.execution(task.id).wait(timeout=30)
        done = orchestrator.get_task_status(task.id)
        assert (done.status, done.result, done.agent_id) == ("completed", 8, agent.name)
        assert (done.task_name, done.input) == ("double", {"number": 4})
        with pytest.raises(InputError, match=r"does not offer 'fly'; it offers: .*double"):
            orchestrator.assign_task(agent.name, {"capability": "fly"})


def test_many_are_spread_over_those_that_serve_them(orchestrator: Orchestrator) -> None:
    for name in ("one", "two"):
        orchestrator.register_agent(name, ["translate"])
    tasks = [{"capability": "translate", "input": number} for number in range(4)]
    given = orchestrator.bulk_assign_tasks(tasks)
    assert sorted(each.agent_id or "" for each in given) == ["one", "one", "two", "two"]
    with pytest.raises(NotFound, match="no live agent serves capability 'fly'"):
        orchestrator.bulk_assign_tasks([*tasks, {"capability": "fly"}])
    assert len(orchestrator.list_tasks()) == 4  # none of the second call


def test_the_same_key_is_the_same_task(orchestrator: Orchestrator) -> None:
    orchestrator.register_agent("one", ["translate"])
    task = {"capability": "translate", "idempotency_key": "k"}
    assert len({orchestrator.assign_task("one", task).id for _ in range(2)}) == 1


def test_a_task_that_is_wrong_or_unknown_is_named(orchestrator: Orchestrator) -> None:
    with pytest.raises(NotFound, match="there is no agent 'nobody'"):
        orchestrator.assign_task("nobody", {"capability": "c"})
    with pytest.raises(InputError, match=r"a task cannot be assigned: timeout: .* found 0"):
        orchestrator.assign_task(None, {"capability": "c", "timeout": 0})
    with pytest.raises(NotFound):
        orchestrator.get_task_status("0123456789abcdef")
    steps = [{"id": "s", "capability": "c"}]
    orchestrator.define_workflow("w", {"name": "w", "steps": steps})
    other = orchestrator.start_workflow("w").id
    with pytest.raises(NotFound, match="has no step 'task', and was not assigned"):
        orchestrator.get_task_status(other)
    assert orchestrator.get_task_status(f"{other}:s").status == "assigned"


def test_all_of_it_from_the_command_line(
    orchestrator: Orchestrator, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from orch.cli.app import run_command

    def run(*words: str) -> Any:
        assert run_command([*words, "--redis", redis_url, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    run("agents", "register", "mt", "translate=2.0.0", "proofread", "--ttl", "1m", "--type", "llm")
    run("agents", "heartbeat", "mt", "--load", "0.5")
    (listed,) = run("agents", "list")
    assert (listed["name"], listed["load_factor"]) == ("mt", 0.5)
    assert listed["versions"] == {"translate": "2.0.0", "proofread": "1.0.0"}
    task = run("agents", "assign", "translate", "--input", '{"a": 1}', "--to", "mt")
    assert [each["agent"] for each in run("tasks", "--agent", "mt")] == ["mt"]
    run("complete", task["id"], "--output", "[1]")
    assert run("agents", "task", task["id"])["result"] == [1]
    assert run("agents", "show", "mt")["task_count"] == 1
    run("agents", "unregister", "mt")
    assert run("agents", "list") == []
