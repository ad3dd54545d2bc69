"""One step as a worker runs it: claim, call, settle, and the rest of the chain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis

from orch.agents.context import Context
from orch.control.runtime import Runtime
from orch.errors import StepError
from orch.journal.journal import Journal
from orch.settings import Settings
from orch.tasks.step import left_over, run_step
from orch.workflows.node import Node
from orch.workflows.outcome import Lost
from orch.workflows.state import ExecutionStatus, StepStatus
from tests.build import Worked, start, task


@pytest.fixture
def runtime(redis: Redis, settings: Settings, redis_url: str) -> Iterator[Runtime]:
    """Each step by a message of its own: how a worker goes on is told in test_turn.py."""
    runtime = Runtime(settings.model_copy(update={"handoff": "off"}), redis_url)
    yield runtime
    runtime.close()


@pytest.fixture
def sent(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that were published, by the advancer or as the next link."""
    found: list[str] = []
    runtime.lists = None  # no message goes with a script
    monkeypatch.setattr(
        runtime.advancer, "dispatch", lambda plan, execution, paths: found.extend(paths)
    )

    def link(app: object, request: Any, lists: object) -> None:
        found.append(request.chain[-1]["args"][1])
        request.chain = None

    monkeypatch.setattr("orch.tasks.step.dispatch_link", link)
    return found


def request(*paths: str) -> Any:
    """A message whose chain goes on with ``paths``; Celery keeps the next one last."""
    return SimpleNamespace(chain=[{"args": ["x1", path, "plan"]} for path in reversed(paths)])


def paths_of(message: Any) -> list[str]:
    return [link["args"][1] for link in reversed(message.chain or [])]


def run(runtime: Runtime, worked: Worked, path: str, call: Any = None, message: Any = None) -> str:
    return run_step(
        runtime, message or request(), call or (lambda *_: None), "x1", path, worked.plan.key
    )


def begun(runtime: Runtime, *steps: dict[str, Any], **more: Any) -> Worked:
    return start(runtime.journal, *steps, **more)


def test_the_output_is_committed_and_the_next_link_sent(runtime: Runtime, sent: list[str]) -> None:
    worked = begun(runtime, task("a", "b"), task("b"))
    message = request("b")
    assert run(runtime, worked, "a", lambda *_: {"n": 1}, message) == "completed"
    assert runtime.journal.steps("x1")["=a"] == '{"n":1}'
    assert sent == ["b"]


def test_the_code_is_given_its_input_and_what_it_is(runtime: Runtime, sent: list[str]) -> None:
    worked = begun(runtime, task("a", timeout=5000, input="$.input.n"), input={"n": 7})
    seen: dict[str, Any] = {}

    def call(node: Node, context: Mapping[str, Any], about: Context) -> Any:
        seen.update(value=node.input.evaluate(context), attempt=about.attempt, path=about.path)

    run(runtime, worked, "a", call)
    assert seen == {"value": 7, "attempt": 1, "path": "a"}


def test_a_second_message_is_dropped_with_the_rest_of_its_chain(
    runtime: Runtime, sent: list[str]
) -> None:
    worked = begun(runtime, task("a", "b"), task("b"))
    run(runtime, worked, "a")
    sent.clear()
    message = request("b")
    assert run(runtime, worked, "a", None, message) == "done"
    assert message.chain is None and sent == []


@pytest.mark.parametrize("error", [ValueError("bad"), SystemExit(3), StepError("Own", "mine")])
def test_whatever_is_raised_fails_the_step_and_not_the_worker(
    runtime: Runtime, sent: list[str], error: BaseException
) -> None:
    worked = begun(runtime, task("a", "b"), task("b"))

    def call(*_: Any) -> Any:
        raise error

    message = request("b")
    name = error.name if isinstance(error, StepError) else type(error).__name__
    assert run(runtime, worked, "a", call, message).startswith(f"failed: {name}")
    assert runtime.journal.status("x1") is ExecutionStatus.FAILED
    assert message.chain is None and sent == []


def test_an_output_that_is_too_large_fails_by_name(runtime: Runtime, sent: list[str]) -> None:
    worked = begun(runtime, task("a"))
    run(runtime, worked, "a", lambda *_: "x" * runtime.settings.output_limit)
    assert (runtime.journal.record("x1").error or {})["name"] == "OutputTooLarge"


def test_a_worker_that_was_given_up_is_refused(runtime: Runtime, sent: list[str]) -> None:
    worked = begun(runtime, task("a", "b"), task("b"))

    def call(*_: Any) -> Any:
        state = worked.state("a")
        runtime.advancer.lose("x1", "a", state, "too slow")

    message = request("b")
    assert run(runtime, worked, "a", call, message) == "superseded"
    assert message.chain is None
    assert (worked.state("a").status, worked.state("a").attempt) == (StepStatus.DISPATCHED, 2)


def test_a_message_of_an_emptied_database_does_no_harm(runtime: Runtime, sent: list[str]) -> None:
    worked = begun(runtime, task("a"))
    runtime.journal.redis.flushall()
    runtime.plans._cache.clear()
    assert run(runtime, worked, "a") == "missing"


def test_a_message_with_an_old_plan_finds_the_new_one(runtime: Runtime, sent: list[str]) -> None:
    old = begun(runtime, task("z", "a"), task("a")).plan
    runtime.journal.redis.flushall()
    worked = begun(runtime, task("a"))
    worked.plan, plan = old, worked.plan
    runtime.plans._remember(old)
    assert old.key != plan.key
    assert run(runtime, worked, "a") == "completed"


@pytest.mark.parametrize(
    ("chain", "opened", "left", "published"),
    [
        (["b", "c"], ("b",), ["b", "c"], ()),  # straight on
        (["b", "c", "d"], ("c",), ["c", "d"], ()),  # b was skipped
        (["b", "c"], ("e",), [], ("e",)),  # the flow went elsewhere
        (["b", "c"], (), [], ()),  # it sleeps, or ended
        (["b"], ("e", "b"), ["b"], ("e",)),
        ([], ("b",), [], ("b",)),
    ],
)
def test_the_chain_carries_what_it_can(
    chain: list[str], opened: tuple[str, ...], left: list[str], published: tuple[str, ...]
) -> None:
    message = request(*chain)
    assert left_over(message, "x1", opened) == published
    assert paths_of(message) == left


def test_the_chain_of_another_execution_carries_nothing() -> None:
    message = request("b")
    assert left_over(message, "other", ("b",)) == ("b",)
    assert message.chain is None


def test_a_lost_attempt_is_no_failure_of_the_step(journal: Journal) -> None:
    worked = start(journal, task("a", retry={"maxAttempts": 1}))
    worked.settle("a", worked.take("a"), Lost("gone"))
    assert (worked.state("a").failures, worked.state("a").attempt) == (0, 2)


def test_a_secret_that_an_error_tells_is_nowhere_to_be_found(
    runtime: Runtime,
    sent: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "hunter-2-hunter")
    worked = begun(runtime, task("a"))

    def call(*_: Any) -> Any:
        raise StepError("Refused", "with hunter-2-hunter", data={"sent": ["hunter-2-hunter"]})

    with caplog.at_level("DEBUG"):
        said = run(runtime, worked, "a", call)
    assert said == "failed: Refused: with ***"
    assert (runtime.journal.record("x1").error or {})["data"] == {"sent": ["***"]}
    redis = runtime.journal.redis
    kept = b"".join(redis.dump(key) or b"" for key in redis.scan_iter())
    assert b"Refused" in kept and b"hunter" not in kept + caplog.text.encode()
