"""What stands in for the output of a step that failed for good."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch import Breaker, Cached, Fallback, Orchestrator
from orch.cli.app import run_command
from orch.control.fallbacks import fallbacks_taken
from orch.control.runtime import Runtime
from orch.control.status import execution_context
from orch.errors import SettingsError, StepError
from orch.journal.journal import Journal
from orch.settings import Settings, load_settings
from orch.tasks import keeping
from orch.tasks.breaker import Guard
from orch.tasks.worker import fallback_of_capability
from orch.workflows.falling import OF_CAPABILITY
from orch.workflows.outcome import Failed, Failure
from orch.workflows.state import ExecutionStatus, StepStatus
from orch.workflows.validation import validate_document
from tests.build import FakeClock, start, task, workflow
from tests.escalated import Played as Escalated
from tests.played import Played
from tests.test_control import Steered

HOUR = 3_600_000
ONCE = {"maxAttempts": 2, "interval": 0}


def begun(journal: Journal, *steps: dict[str, Any], **more: Any) -> Steered:
    return Steered(start(journal, *steps, **more))


# --- when it is taken -----------------------------------------------------------------------------


def test_a_constant_stands_in_when_the_retries_are_used_up(journal: Journal) -> None:
    first = task("a", "b", retry=ONCE, fallback={"value": {"rate": 1}}, output="rates")
    steered = begun(journal, first, task("b"))
    steered.fail("a")
    assert steered.worked.state("a").status is StepStatus.RETRYING
    steered.look(0)
    steered.fail("a")
    assert steered.worked.state("a").status is StepStatus.COMPLETED
    assert journal.record("x1").variables == {"rates": {"rate": 1}}
    assert steered.worked.state("b").status is StepStatus.DISPATCHED


def test_it_goes_before_on_error(journal: Journal) -> None:
    steered = begun(journal, task("a", fallback={"value": 1}, onError="b"), task("b"))
    steered.fail("a")
    assert journal.record("x1").output == 1


def test_null_is_a_constant_too(journal: Journal) -> None:
    steered = begun(journal, task("a", fallback={"value": None}))
    steered.fail("a")
    assert steered.worked.status() is ExecutionStatus.COMPLETED


def test_other_errors_than_those_that_it_names_fail_the_step(journal: Journal) -> None:
    steered = begun(journal, task("a", fallback={"value": 1, "errors": ["Down"]}))
    steered.fail("a", "Broken")
    assert steered.worked.status() is ExecutionStatus.FAILED


def test_an_attempt_that_its_warden_gives_up_has_one_as_well(journal: Journal) -> None:
    steered = begun(journal, task("a", timeout=1000, fallback={"value": 1}))
    steered.worked.take("a")
    steered.look(1000)
    assert journal.record("x1").output == 1


def test_and_so_has_poison(journal: Journal) -> None:
    steered = begun(journal, task("a", fallback={"value": 1}))
    for _ in range(journal.settings.max_lost_attempts):
        state = steered.worked.take("a").state
        steered.advancer.lose("x1", "a", state, "gone")
    assert journal.record("x1").output == 1


def test_what_fails_while_it_is_cancelled_has_none(journal: Journal) -> None:
    done = task("a", "b", compensate={"capability": "undo"})
    steered = begun(journal, done, task("b", fallback={"value": 1}))
    steered.do("a")
    claimed = steered.worked.take("b")
    steered.verbs.cancel("x1")
    broken = Failed(Failure("Broken", "it broke"))
    steered.advancer.settle(steered.worked.plan, claimed.view, "b", claimed.state, broken)
    assert steered.worked.state("b").status is StepStatus.FAILED


def test_an_output_that_the_step_cannot_use_fails_it(journal: Journal) -> None:
    broken = {"x": "$.output.missing.deeper + 1"}
    steered = begun(journal, task("a", fallback={"value": "text"}, output=broken))
    steered.fail("a")
    assert steered.worked.status() is ExecutionStatus.FAILED


# --- how it is marked -----------------------------------------------------------------------------


def test_history_and_status_say_that_it_was_taken_and_for_which_error(journal: Journal) -> None:
    steered = begun(journal, task("a", "b", fallback={"value": 1}), task("b"))
    steered.fail("a", "Down")
    steered.do("b")
    assert steered.context().fallbacks == {"a": "value"}
    [taken] = fallbacks_taken(journal.history("x1"))
    assert (taken.path, taken.by, taken.error) == ("a", "value", "Down")


def test_items_of_a_map_are_listed_too(journal: Journal) -> None:
    of = {"items": "$.input", "steps": [task("a", fallback={"value": 0})]}
    steered = begun(journal, {"id": "m", "type": "map", "map": of}, input=[1, 2])
    steered.fail("m[0]/a")
    steered.do("m[1]/a", 5)
    assert journal.record("x1").output["results"] == [0, 5]
    assert [t.path for t in fallbacks_taken(journal.history("x1"))] == ["m[0]/a"]


# --- what was good before -------------------------------------------------------------------------


@pytest.fixture
def runtime(
    redis: Redis, settings: Settings, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Runtime]:
    monkeypatch.setattr(keeping, "_latest", {})
    runtime = Runtime(settings, redis_url)
    runtime.journal.clock = FakeClock()
    yield runtime
    runtime.close()


def breaks(path: str, item: Any) -> Any:
    raise StepError("Down", "it is down")


def chain(*steps: dict[str, Any]) -> list[dict[str, Any]]:
    for step, following in pairwise(steps):
        step["next"] = following["id"]
    return list(steps)


def fails_from(second: str) -> Callable[[str, Any], Any]:
    return lambda path, item: breaks(path, item) if path == second else f"good {path}"


def test_the_last_good_output_of_the_same_input_stands_in(runtime: Runtime) -> None:
    cached = {"cached": {"maxAge": "1h"}, "value": "none"}
    steps = chain(
        task("a", input={"of": 1}, fallback=cached),
        task("b", input={"of": 1}, fallback=cached, output="same"),
    )
    played = Played(runtime, *steps)
    played.act = fails_from("b")
    played.run()
    assert played.output() == "good a"
    [taken] = fallbacks_taken(played.journal.history("x1"))
    assert (taken.by, taken.kept) == ("cached", played.journal.clock())


def test_that_of_another_input_does_not_unless_the_capability_alone_counts(
    runtime: Runtime,
) -> None:
    for by, expected in (("input", "none"), ("capability", "good a")):
        runtime.journal.redis.flushall()
        cached = {"cached": {"maxAge": 5000, "by": by}, "value": "none"}
        steps = chain(
            task("a", input={"of": 1}, fallback=cached), task("b", input=2, fallback=cached)
        )
        played = Played(runtime, *steps)
        played.act = fails_from("b")
        played.run()
        assert played.output() == expected


def test_one_that_is_too_old_does_not(runtime: Runtime) -> None:
    clock, journal = runtime.journal.clock, runtime.journal
    assert isinstance(clock, FakeClock)
    journal.keep_output("work", OF_CAPABILITY, '"old"', HOUR)
    clock.advance(1001)
    short = {"cached": {"maxAge": 1000, "by": "capability"}}
    played = Played(runtime, task("a", fallback=short))
    played.act = breaks
    played.run()
    assert played.worked.status() is ExecutionStatus.FAILED


def test_what_is_kept_of_a_capability_is_bounded_and_the_oldest_goes(
    redis: Redis, settings: Settings, clock: FakeClock
) -> None:
    small = Journal(redis, settings.model_copy(update={"fallback_bytes": 20}), clock=clock)
    for number in range(5):
        clock.advance(1)
        assert small.keep_output("work", f"n{number}", f'"{number:06}"', HOUR)
    assert [small.kept_output("work", f"n{n}") is not None for n in range(5)] == [
        False, False, False, True, True,
    ]  # fmt: skip
    assert not small.keep_output("work", "big", "x" * 21, HOUR)
    assert redis.hget(small.keys.kept_outputs("work"), "bytes") == "16"


def test_of_a_capability_one_output_a_second_is_kept(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[str] = []
    monkeypatch.setattr(runtime.journal, "keep_output", lambda *given: kept.append(given[2]) or 1)
    cached = {"cached": {"maxAge": "1h", "by": "capability"}}
    of = {"items": "$.input", "maxConcurrency": 1, "steps": [task("a", fallback=cached)]}
    played = Played(runtime, {"id": "m", "type": "map", "map": of}, input=[1] * 30)
    played.run()
    assert 1 <= len(kept) < 5


# --- of a capability, and with a breaker ----------------------------------------------------------


def test_what_is_declared_with_the_capability_stands_in_where_the_step_says_nothing(
    journal: Journal,
) -> None:
    journal.declare_fallbacks({"work": Fallback(value="theirs"), "other": None})
    steered = begun(journal, task("a", "b", output="a"), task("b", fallback={"value": "own"}))
    steered.fail("a")
    steered.fail("b")
    record = journal.record("x1")
    assert (record.variables, record.output) == ({"a": "theirs"}, "own")


def guarded(
    runtime: Runtime, fallback: dict[str, Any] | None, first: dict[str, Any] | None = None
) -> Played:
    steps = chain(task("a", retry=ONCE, onError="b", fallback=first), task("b", fallback=fallback))
    played = Played(runtime, *steps)

    def call(node: Any, seen: Any, context: Any) -> Any:
        return type(played).call(played, node, seen, context)

    breaker = Breaker(minimum=1, when_open="fallback")
    call.breaker = Guard(runtime.journal, "work", breaker)  # type: ignore[attr-defined]
    played.call = call  # type: ignore[method-assign]
    played.act = breaks
    runtime.journal.switch_breaker("work", opens=True, by="ada")
    return played


def test_an_open_breaker_takes_it_at_once_where_that_is_declared(runtime: Runtime) -> None:
    runtime.journal.declare_fallbacks({"work": Fallback(value="theirs")})
    played = guarded(runtime, {"value": "own"})
    played.run()
    assert (played.runs, played.output()) == ([], "own")
    found = execution_context(runtime.journal, runtime.plans, "x1")
    assert found.fallbacks == {"a": "value", "b": "value"}
    errors = {taken.error for taken in fallbacks_taken(played.journal.history("x1"))}
    assert errors == {"BreakerOpen"}


def test_and_the_step_waits_where_there_is_none(runtime: Runtime) -> None:
    played = guarded(runtime, None)
    played.run()
    assert played.worked.state("a").status is StepStatus.RETRYING
    assert "breaker_open" in [event for event, _ in played.worked.events()]


# --- another capability ---------------------------------------------------------------------------

OTHER = {"fallback": {"capability": "other", "input": {"why": "$.error.name"}}}


def test_another_capability_does_the_step_before_on_error_is_asked(journal: Journal) -> None:
    steered = Escalated(journal, task("a", "b", onError="b", **OTHER, output="got"), task("b"))
    steered.fail("a", "Down")
    assert steered.status("a") is StepStatus.ESCALATED
    assert steered.status("b") is None
    assert steered.worked.plan.capabilities["other"] == "other"
    steered.do("a/~_fallback.1", 7)
    assert journal.record("x1").variables == {"got": 7}
    assert steered.status("b") is StepStatus.DISPATCHED
    found = execution_context(journal, steered.plans, "x1")
    assert found.fallbacks == {"a": "capability"}
    [taken] = fallbacks_taken(journal.history("x1"))
    assert (taken.path, taken.by, taken.error) == ("a", "capability", "Down")


def test_where_it_fails_as_well_on_error_takes_its_error(journal: Journal) -> None:
    steered = Escalated(journal, task("a", onError="b", **OTHER), task("b"))
    steered.fail("a")
    steered.fail("a/~_fallback.1", "Worse")
    assert steered.status("a") is StepStatus.FAILED
    assert steered.status("b") is StepStatus.DISPATCHED
    assert not steered.record("a").open


def test_or_else_the_ladder_is_asked(journal: Journal) -> None:
    steered = Escalated(journal, task("a", escalation=["human"], **OTHER))
    steered.fail("a")
    steered.fail("a/~_fallback.1", "Worse")
    assert steered.status("a") is StepStatus.ESCALATED
    record = steered.record("a")
    assert (record.open, record.kind, record.ladder) == (True, "human", "")


def test_and_without_either_the_step_fails(journal: Journal) -> None:
    steered = Escalated(journal, task("a", **OTHER))
    steered.fail("a")
    steered.fail("a/~_fallback.1", "Worse")
    assert steered.worked.status() is ExecutionStatus.FAILED
    assert (journal.record("x1").error or {})["name"] == "Worse"


def test_an_error_that_it_is_not_for_goes_past_it(journal: Journal) -> None:
    asked = {"capability": "other", "errors": ["class:transient"]}
    steered = Escalated(journal, task("a", fallback=asked))
    steered.fail("a", "ValueError")
    assert steered.worked.status() is ExecutionStatus.FAILED


def test_an_open_breaker_may_send_a_step_to_another_capability(runtime: Runtime) -> None:
    played = guarded(runtime, None, {"capability": "other"})
    played.run_next()
    assert played.worked.state("a").status is StepStatus.ESCALATED
    assert played.messages == ["a/~_fallback.1"]


# --- what is declared -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, "`value` of a fallback is None, and should be given, or `cached`"),
        ({"cached": {"max_age": 0}}, "`max_age` of a fallback is 0"),
        ({"cached": {}}, "`max_age` of a fallback is None"),
        ({"cached": {"max_age": 1, "by": "day"}}, "`input` or `capability`"),
        ({"value": float("nan")}, "should be JSON"),
        ({"value": 1, "errors": "Down"}, "a list of names of errors"),
        ({"constant": 1}, "a fallback has no fields like {'constant': 1}"),
    ],
)
def test_a_fallback_that_is_none_is_refused_with_what_was_found(wrong: Any, said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Fallback.of(wrong)
    assert said in raised.value.message
    with pytest.raises(SettingsError, match="of 'pay'"):
        load_settings(fallbacks={"pay": wrong})


def test_the_settings_prevail_over_the_decorator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("orch.toml").write_text("[fallbacks.pay]\nvalue = 0\ncached = {max_age = 60}\n")
    settings = load_settings()
    assert fallback_of_capability("pay", settings) == Fallback(Cached(60), 0)
    assert Fallback.loads(Fallback(Cached(60), None).dumps()) == Fallback(Cached(60), None)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (task("a", external=True, fallback={"value": 1}), "`fallback` is for tasks that workers"),
        (task("a", fallback={"cached": {"maxAge": 0}}), "must be at least 1"),
        (task("a", fallback={"capability": "b", "value": 1}), "found both"),
        (task("a", fallback={"input": 1}), "are those of a `capability`"),
        (task("a", fallback={"cached": {"maxAge": "soon"}}), "soon"),
        (task("a", fallback={"cached": {"maxAge": "1h", "by": "day"}}), "input"),
        (
            {
                "id": "a",
                "type": "wait",
                "wait": {"until": "$.output", "poll": {"capability": "work"}},
                "fallback": {"cached": {"maxAge": "1h"}},
            },
            "a poll has no output to be `cached`",
        ),
    ],
)
def test_a_definition_with_a_fallback_that_cannot_be_is_refused(
    step: dict[str, Any], said: str
) -> None:
    _, findings = validate_document({"name": "w", "steps": [step]})
    assert any(said in f"{each.message} {each.hint}" for each in findings), findings


def test_it_is_part_of_the_version() -> None:
    plain = workflow(task("a"))
    null, constant = (workflow(task("a", fallback={"value": v})) for v in (None, 1))
    assert len({each.content_hash() for each in (plain, null, constant)}) == 3
    again = type(null).model_validate_json(null.canonical())
    assert again.content_hash() == null.content_hash() and again.steps[0].fallback is not None


# --- with real workers ----------------------------------------------------------------------------

SERVICE = """
from pathlib import Path
from orch import Cached, Fallback, capability

@capability("rates", fallback=Fallback(cached=Cached(3600)))
def rates(day: int) -> dict:
    if (Path(__file__).parent / "down").exists():
        raise ConnectionError("down")
    return {"day": day}
"""


def test_a_worker_keeps_what_was_good_and_gives_it_when_the_service_is_down(
    redis: Redis,
    redis_url: str,
    settings: Settings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "service.py").write_text(SERVICE)
    settings = settings.model_copy(update={"fallbacks": {"quick": Fallback(value="x")}})
    with (
        Orchestrator(settings) as orchestrator,
        orchestrator.workers(include=[str(tmp_path / "service.py")], pool="solo"),
    ):
        step = {"id": "r", "capability": "rates", "input": {"day": "$.input.day"}}
        orchestrator.define_workflow("rates", {"name": "Rates", "steps": [step]})
        assert orchestrator.start_workflow("rates", {"day": 1}).wait(timeout=20).output
        (tmp_path / "down").touch()
        again = orchestrator.start_workflow("rates", {"day": 1})
        ended = again.wait(timeout=20)
        assert (ended.output, ended.fallbacks) == ({"day": 1}, {"r": "cached"})
        other = orchestrator.start_workflow("rates", {"day": 2}).wait(timeout=20)
        assert other.status == "failed"
        assert run_command(["status", again.id, "--redis", redis_url]) == 0
        assert "fallback: cached" in capsys.readouterr().out
        assert run_command(["history", again.id, "--json", "--redis", redis_url]) == 0
        assert any(json.loads(capsys.readouterr().out)[i]["event"] == "fallback" for i in (2,))
