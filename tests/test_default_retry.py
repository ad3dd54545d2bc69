"""Tasks without `retry`, and what the settings say of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch import Orchestrator, Settings
from orch.cli.app import run_command
from orch.control.plans import MAY_PASS, Plans, default_retry, plan_key
from orch.control.simulation import simulate
from orch.errors import SettingsError
from orch.journal.journal import Journal
from orch.settings import load_settings
from orch.workflows.definition import RetryPolicy
from orch.workflows.plan import Plan
from tests.build import handler, task, wait, workflow

THREE = RetryPolicy(max_attempts=3, interval=1000, strategy="linear")


def plans(journal: Journal, **given: Any) -> Plans:
    changed = journal.settings.model_copy(update=given)
    return Plans(Journal(journal.redis, changed, url=journal.url, clock=journal.clock))


def test_none_is_no_retry_at_all() -> None:
    assert default_retry(Settings()) is None
    assert default_retry(Settings(retry_strategy="linear", max_retries=0)) is None
    found = default_retry(Settings(retry_strategy="exponential", max_retries=3, retry_interval=0.5))
    assert found == RetryPolicy(
        max_attempts=4, interval=500, strategy="exponential", retry_on=list(MAY_PASS)
    )


def test_it_is_for_work_that_says_nothing_of_retry() -> None:
    once = {"maxAttempts": 1}
    poll = {"poll": {"capability": "c"}, "until": "$.state"}
    definition = workflow(
        task("plain", "own"),
        task("own", "most", retry=once),
        task("most", "poll", delivery="at_most_once"),
        {"id": "poll", "type": "wait", "wait": poll, "next": "child"},
        {"id": "child", "type": "subworkflow", "subworkflow": "other", "next": "rest"},
        wait("rest"),
        errorHandlers=[handler("tell")],
    )
    found = Plan(definition, retry=THREE)
    tried = {node.id: node.retry and node.retry.max_attempts for node in found.nodes()}
    assert tried == {
        "plain": 3,
        "own": 1,
        "most": None,
        "poll": 3,
        "child": None,
        "rest": None,
        "tell": 3,
    }


def test_it_is_in_the_key_of_the_plan_and_not_in_the_version() -> None:
    definition = workflow(task("a"))
    assert plan_key(definition, {}) == definition.content_hash()
    keys = {plan_key(definition, {}, retry) for retry in (None, THREE, RetryPolicy())}
    assert len(keys) == 3
    assert Plan(definition, retry=THREE).version == definition.content_hash()


def test_an_execution_keeps_what_it_was_started_with(journal: Journal) -> None:
    stored = plans(journal, retry_strategy="linear", max_retries=2).store(
        "w", workflow(task("a")), {}
    )
    elsewhere = plans(journal).get(stored.key)
    assert elsewhere.node("a").retry == stored.node("a").retry
    assert (elsewhere.node("a").retry or RetryPolicy()).max_attempts == 3
    assert plans(journal).store("w", workflow(task("a")), {}).node("a").retry is None


def test_a_simulation_tries_again_as_a_run_would() -> None:
    found = simulate(workflow(task("a")), key="w", mocks={"fail": {"a": 2}}, retry=THREE)
    assert found.status == "completed"
    assert [(step.attempt, step.outcome, step.at_ms) for step in found.steps] == [
        (1, "failed", 0),
        (2, "failed", 1000),
        (3, "completed", 3000),
    ]
    assert simulate(workflow(task("a")), key="w", mocks={"fail": {"a": 2}}).status == "failed"


def test_the_command_simulates_with_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "w.json").write_text('{"name":"w","steps":[{"id":"a","capability":"c"}]}')
    (tmp_path / "mocks.json").write_text('{"fail":{"a":1}}')
    command = ["simulate", str(tmp_path / "w.json"), "--mocks", str(tmp_path / "mocks.json")]
    assert run_command(command) == 1
    monkeypatch.setenv("ORCH_RETRY_STRATEGY", "exponential")
    assert run_command(command) == 0
    assert "completed" in capsys.readouterr().out


def test_a_strategy_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_RETRY_STRATEGY", "sometimes")
    with pytest.raises(SettingsError, match=r"retry_strategy.*sometimes"):
        load_settings()


CAPABILITIES = """
from orch import Context, capability

@capability("second")
def second(context: Context):
    if context.attempt == 1:
        raise RuntimeError("not yet")
    return context.attempt
"""


def test_workers_with_other_settings_follow_the_one_that_started(
    redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    module = tmp_path / "trying.py"
    module.write_text(CAPABILITIES)
    definition = {"name": "w", "steps": [{"id": "a", "capability": "second"}]}
    with Orchestrator(redis_url=redis_url) as plain:
        plain.define_workflow("w", definition)
        given = {"retry_strategy": "linear", "retry_interval": 0.05}
        with (
            Orchestrator(redis_url=redis_url, **given) as trying,
            plain.workers(include=[str(module)], pool="solo"),
        ):
            failed, done = plain.start_workflow("w"), trying.start_workflow("w")
            assert failed.wait(timeout=30).status == "failed"
            assert done.wait(timeout=30).output == 2
