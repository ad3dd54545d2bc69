"""Every failure is of a class, and retries, error actions and handlers may name it."""

from __future__ import annotations

import asyncio
import errno
import urllib.error
from collections.abc import Mapping
from email.message import Message
from types import SimpleNamespace
from typing import Any

import pydantic
import pytest

from orch.control.advance import Advancer
from orch.control.attempts import Attempt, attempts_of
from orch.control.plans import Plans, default_retry
from orch.control.simulation import simulate
from orch.errors import ErrorClass, RetryAfter, SettingsError, StepError, Unreachable
from orch.journal.journal import Journal
from orch.journal.records import HistoryEntry
from orch.settings import Settings, load_settings
from orch.tasks.failures import failure_of, stack_of
from orch.workflows.calls import Call
from orch.workflows.definition import RetryPolicy
from orch.workflows.failing import classify
from orch.workflows.outcome import Failed, Failure, Lost
from orch.workflows.state import ExecutionStatus
from orch.workflows.validation import errors_in, validate_document
from tests.build import decided, handler, parallel, plan_of, running, start, task, workflow


class HTTPError(Exception):
    """As requests and httpx raise it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.response = SimpleNamespace(status_code=status, headers={})


class ClientError(Exception):
    """As botocore raises it."""

    def __init__(self, status: int) -> None:
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}


class OutOfStock(LookupError):
    error_class = "conflict"


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def class_of(error: BaseException, table: Mapping[str, ErrorClass] | None = None) -> str:
    name = error.name if isinstance(error, StepError) else type(error).__name__
    return classify(error, name, table).value


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionResetError("gone"), "transient"),
        (TimeoutError(), "transient"),
        (asyncio.IncompleteReadError(b"", 1), "transient"),
        (Unreachable("no Redis"), "transient"),
        (RetryAfter("busy", seconds=3), "transient"),
        (HTTPError(429), "transient"),
        (HTTPError(503), "transient"),
        (HTTPError(404), "permanent"),
        (HTTPError(501), "permanent"),
        (HTTPError(409), "conflict"),
        (HTTPError(507), "resource"),
        (ClientError(500), "transient"),
        (urllib.error.HTTPError("http://x", 400, "no", Message(), None), "permanent"),
        (KeyError("x"), "permanent"),
        (ZeroDivisionError(), "permanent"),
        (StepError("InvalidInput", "no"), "permanent"),
        (StepError("ExpressionError", "no"), "permanent"),
        (FileNotFoundError(errno.ENOENT, "no"), "permanent"),
        (FileExistsError(errno.EEXIST, "there"), "conflict"),
        (MemoryError(), "resource"),
        (OSError(errno.ENOSPC, "disk full"), "resource"),
        (OSError(errno.EHOSTUNREACH, "no"), "transient"),
        (StepError("Cancelled", "no"), "cancelled"),
        (OutOfStock(), "conflict"),
        (StepError("Mine", "no", error_class="resource"), "resource"),
        (caused(StepError("Mine", "no"), TimeoutError()), "transient"),
        (StepError("Mine", "no"), "unknown"),
        (RuntimeError("no"), "unknown"),
        (SystemExit(500), "unknown"),
    ],
)
def test_an_exception_is_of_a_class(error: BaseException, expected: str) -> None:
    assert class_of(error) == expected


def test_a_table_of_ones_own_is_asked_first_and_after_the_exception_itself() -> None:
    table = {
        "KeyError": ErrorClass.TRANSIENT,
        f"{HTTPError.__module__}.HTTPError": ErrorClass.RESOURCE,
        "Mine": ErrorClass.CONFLICT,
        "OutOfStock": ErrorClass.PERMANENT,
    }
    assert class_of(KeyError("x"), table) == "transient"
    assert class_of(HTTPError(404), table) == "resource"
    assert class_of(StepError("Mine", "no"), table) == "conflict"
    assert class_of(OutOfStock(), table) == "conflict"


def test_a_class_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="sometimes"):
        StepError("Mine", "no", error_class="sometimes")
    monkeypatch.setenv("ORCH_ERROR_CLASSES", '{"Mine": "sometimes"}')
    with pytest.raises(SettingsError, match=r"error_classes.Mine: .*'transient'.*'sometimes'"):
        load_settings()
    with pytest.raises(pydantic.ValidationError, match=r"class:sometimes.*transient, permanent"):
        RetryPolicy(retry_on=["class:sometimes"])


def test_the_validator_says_where_a_class_is_none() -> None:
    steps = [task("a", onError={"errors": ["class:transent"], "next": "b"}), task("b")]
    (finding,) = errors_in(validate_document({"name": "w", "steps": steps})[1])
    assert "errors" in finding.path
    assert "'class:transent' is no class of errors" in finding.message


def test_a_setting_classifies_what_only_a_name_is_known_of(journal: Journal) -> None:
    table = {"ScheduleTimeout": ErrorClass.RESOURCE}
    journal.settings = journal.settings.model_copy(update={"error_classes": table})
    worked = start(journal, task("a", scheduleTimeout=1000))
    advancer = Advancer(journal, Plans(journal), worked.dispatch)
    advancer.time_out_in_queue("x1", "a", worked.state("a"), 1000)
    assert (journal.record("x1").error or {})["class"] == "resource"


class TestPolicies:
    def test_a_retry_may_name_a_class(self) -> None:
        plan = plan_of(task("a", retry={"retryOn": ["class:transient"]}))
        for name, again in (("TimeoutError", True), ("KeyError", False)):
            assert (decided(plan, "a", Failed(Failure(name, "no"))).end is None) is again

    def test_a_class_that_is_said_counts_more_than_the_name(self) -> None:
        plan = plan_of(task("a", retry={"abortOn": ["class:permanent"]}))
        failure = Failure("TimeoutError", "no", said_class="permanent")
        assert decided(plan, "a", Failed(failure)).end is not None

    def test_an_error_action_and_a_handler_may_name_a_class(self) -> None:
        action = {"errors": ["class:conflict"], "next": "b"}
        plan = plan_of(
            task("a", onError=action),
            task("b"),
            task("c"),
            errorHandlers=[handler("c", "class:permanent")],
        )
        for name, to in (("Conflict", "b"), ("KeyError", "c"), ("TimeoutError", "")):
            opened = [each.path for each in decided(plan, "a", Failed(Failure(name, "x"))).opens]
            assert opened == ([to] if to else [])

    def test_expressions_see_the_class(self) -> None:
        plan = plan_of(
            task("a", onError="b"),
            {
                "id": "b",
                "type": "decision",
                "decision": {"expression": "$.error.class", "branches": {"permanent": "c"}},
            },
            task("c"),
        )
        transition = decided(plan, "a", Failed(Failure("KeyError", "x")))
        assert transition.opens[-1].path == "c"

    def test_a_child_hands_its_class_on(self) -> None:
        error = '{"name": "Mine", "message": "no", "class": "resource"}'
        found = Call("x1", "a", 1).outcome(ExecutionStatus.FAILED, None, error)
        assert isinstance(found, Failed) and found.failure.error_class == "resource"

    def test_poison_is_a_class(self) -> None:
        plan = plan_of(task("a"))
        transition = decided(plan, "a", Lost("killed", poison=True), running(3, lost=2))
        assert transition.end is not None and '"class":"poison"' in (transition.end.error or "")

    def test_failures_of_one_class_are_those_of_their_join(self) -> None:
        step = parallel("p", [task("a")], [task("b")])
        step["parallel"]["tolerate"] = {"count": 1}
        ended = simulate(
            workflow(step), key="w", mocks={"fail": {"a": 1, "b": 1}, "errors": {"a": "KeyError"}}
        )
        assert (ended.error or {})["class"] == "unknown"
        errors = {"a": "KeyError", "b": "TypeError"}
        ended = simulate(
            workflow(step), key="w", mocks={"fail": {"a": 1, "b": 1}, "errors": errors}
        )
        assert (ended.error or {})["class"] == "permanent"


class TestLevels:
    def attempts(self, name: str, level: str | None = None, **given: Any) -> int:
        alone = task("a", escalation=[])  # nobody is asked: what is tried again is meant
        definition = workflow(alone, **({"errorHandlingLevel": level} if level else {}))
        found = simulate(
            definition,
            key="w",
            mocks={"fail": {"a": "always"}, "errors": {"a": name}},
            settings=Settings(**given),
        )
        return len(found.steps)

    def test_without_a_strategy_only_aggressive_tries_again(self) -> None:
        assert self.attempts("TimeoutError") == 1
        assert self.attempts("TimeoutError", error_handling_level="minimal") == 1
        assert self.attempts("TimeoutError", error_handling_level="aggressive") == 4
        assert self.attempts("Conflict", error_handling_level="aggressive") == 4
        assert self.attempts("KeyError", error_handling_level="aggressive") == 1

    def test_standard_tries_again_what_may_pass(self) -> None:
        found = {
            name: self.attempts(name, retry_strategy="linear", max_retries=1)
            for name in ("TimeoutError", "MemoryError", "Mine", "Conflict", "KeyError", "Cancelled")
        }
        assert found == {
            "TimeoutError": 2,
            "MemoryError": 2,
            "Mine": 2,
            "Conflict": 1,
            "KeyError": 1,
            "Cancelled": 1,
        }

    def test_minimal_tries_nothing_again_whatever_the_strategy_is(self) -> None:
        given = {"retry_strategy": "linear", "error_handling_level": "minimal"}
        assert self.attempts("TimeoutError", **given) == 1

    def test_a_workflow_has_a_level_of_its_own(self) -> None:
        assert self.attempts("Conflict", "aggressive") == 4
        assert self.attempts("TimeoutError", "minimal", retry_strategy="linear") == 1
        given = {"retry_strategy": "linear", "error_handling_level": "aggressive"}
        assert self.attempts("Conflict", "standard", **given) == 1

    def test_a_step_with_a_retry_is_not_meant(self) -> None:
        definition = workflow(
            task("a", retry={"maxAttempts": 2, "interval": 0}), errorHandlingLevel="minimal"
        )
        assert len(simulate(definition, key="w", mocks={"fail": {"a": 5}}).steps) == 2

    def test_a_plan_like_another_keeps_its_retry_unless_its_level_is_another(
        self, journal: Journal
    ) -> None:
        def plans(**given: Any) -> Plans:
            changed = journal.settings.model_copy(update=given)
            return Plans(Journal(journal.redis, changed, url=journal.url, clock=journal.clock))

        stored = plans(retry_strategy="linear").store("w", workflow(task("a")), {})
        later = plans()
        alike = later.pin(workflow(task("a"), task("b")), {}, like=stored.key)
        assert alike.retry == stored.retry == default_retry(Settings(retry_strategy="linear"))
        other = workflow(task("a"), errorHandlingLevel="aggressive")
        made = later.pin(other, {}, like=stored.key)
        assert made.retry == default_retry(Settings(), "aggressive")
        assert later.get(made.key).retry == made.retry


class TestStacks:
    def test_a_stack_is_the_users_own(self) -> None:
        def own() -> None:
            asyncio.run(broken())

        async def broken() -> None:
            Plans(None).get("x")  # type: ignore[arg-type]

        with pytest.raises(AttributeError) as raised:
            own()
        stack = stack_of(raised.value)
        assert stack.count("test_error_classes.py") == stack.count('File "')
        assert "in broken" in stack and "in own" in stack

    def test_a_stack_is_bounded(self) -> None:
        def deeper(left: int) -> None:
            assert left, "deep enough"
            deeper(left - 1)

        with pytest.raises(AssertionError) as raised:
            deeper(50)
        stack = stack_of(raised.value)
        assert len(stack) <= 4000 and 'assert left, "deep enough"' in stack

    def test_an_exception_that_cannot_be_shown_has_a_name(self) -> None:
        class Shy(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        found = failure_of(Settings(), Shy(), Failure("", "", "a", "a", 1))
        assert (found.name, found.message) == ("Shy", "Shy")


def test_attempts_are_read_from_the_history() -> None:
    def entry(at: int, event: str, attempt: int, **detail: Any) -> HistoryEntry:
        return HistoryEntry(at, event, "a", attempt, detail)

    error = {"name": "Mine", "message": "no", "class": "resource"}
    history = [
        entry(10, "claimed", 1, worker="host/12/abc"),
        entry(20, "retrying", 1, error=error, due=30),
        HistoryEntry(25, "claimed", "b", 1, {"worker": "other/1/x"}),
        entry(30, "claimed", 2, worker="host/13/abd"),
        entry(40, "lost", 2, reason="killed"),
        entry(50, "claimed", 3, worker="host/14/abe"),
        entry(60, "failed", 3, error={"name": "KeyError", "message": "'x'"}),
        entry(70, "claimed", 4, worker="host/14/abf"),
    ]
    assert attempts_of(history, "a") == (
        Attempt(1, "failed", "Mine", "resource", "no", 10, 20, "host"),
        Attempt(2, "lost", "WorkerLost", "transient", "killed", 30, 40, "host"),
        Attempt(3, "failed", "KeyError", "permanent", "'x'", 50, 60, "host"),
        Attempt(4, "running", started=70, worker="host"),
    )
    assert attempts_of(history, "c") == ()
