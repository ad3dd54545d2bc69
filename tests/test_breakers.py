"""A capability whose calls fail too often is left alone for a while, by all workers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch import AsyncOrchestrator, Breaker, Orchestrator
from orch.agents.capability import Capability
from orch.cli.app import run_command
from orch.control.runtime import Runtime
from orch.control.status import execution_context
from orch.errors import InputError, NotFound, SettingsError, StepError
from orch.journal.breakers import bucket_of
from orch.journal.journal import Journal, open_redis
from orch.settings import Settings, load_settings
from orch.tasks.breaker import Guard
from orch.tasks.worker import breaker_of
from orch.workflows.breaking import Standing, due_after
from orch.workflows.outcome import Deferred
from orch.workflows.state import StepStatus
from tests.build import FakeClock, decided, plan_of, task
from tests.played import Played

BREAKER = Breaker(failure_rate=0.5, window=10, minimum=4, open_for=5)


def count(journal: Journal, calls: int, failures: int, breaker: Breaker = BREAKER) -> Standing:
    told = [(bucket_of(breaker, journal.clock()), calls, failures)]
    return journal.ask_breaker("pay", breaker, calls=told, why="Broken: it broke")


def ask(journal: Journal, attempt: str = "x/a#1", breaker: Breaker = BREAKER) -> Standing:
    return journal.ask_breaker("pay", breaker, attempt, wants=True)


def end(journal: Journal, ended: str, attempt: str = "x/a#1") -> Standing:
    return journal.ask_breaker("pay", BREAKER, attempt, ended=ended)


def opened(journal: Journal, clock: FakeClock, later: int = 0) -> None:
    assert count(journal, 4, 4).changed == "opened"
    clock.advance(later)


# --- what is counted ------------------------------------------------------------------------------


def test_it_opens_when_enough_calls_were_made_and_enough_of_them_failed(journal: Journal) -> None:
    assert count(journal, 3, 3).word == "CLOSED"  # fewer than the minimum
    assert count(journal, 4, 0).word == "CLOSED"  # 3 of 7
    found = count(journal, 1, 1)
    assert (found.word, found.changed, found.until) == ("OPEN", "opened", journal.clock() + 5000)
    assert ask(journal).lets_through is False


def test_what_has_left_the_window_does_not_count(journal: Journal, clock: FakeClock) -> None:
    count(journal, 3, 3)
    clock.advance(11_000)
    assert count(journal, 3, 3).word == "CLOSED"
    assert count(journal, 1, 1).word == "OPEN"


def test_successes_alone_never_open_it(journal: Journal) -> None:
    count(journal, 3, 3)
    journal.ask_breaker("pay", BREAKER, calls=[(bucket_of(BREAKER, journal.clock()), 1, 0)])
    assert ask(journal).word == "CLOSED"


# --- open, half-open ------------------------------------------------------------------------------


def test_a_probe_that_goes_well_closes_it_and_what_was_counted_is_forgotten(
    journal: Journal, clock: FakeClock
) -> None:
    opened(journal, clock, 5000)
    assert ask(journal).word == "PROBE"
    assert ask(journal, "x/b#1").word == "HALF_OPEN"
    assert ask(journal).word == "PROBE"  # the reply to its first call was lost
    assert end(journal, "ok").changed == "closed"
    assert count(journal, 1, 1).word == "CLOSED"


def test_a_probe_that_fails_opens_it_again_for_as_long(journal: Journal, clock: FakeClock) -> None:
    opened(journal, clock, 5000)
    since = ask(journal).since
    found = end(journal, "bad")
    assert (found.word, found.changed, found.since) == ("OPEN", "reopened", since)
    assert found.until == journal.clock() + 5000


def test_what_began_before_it_opened_decides_nothing(journal: Journal, clock: FakeClock) -> None:
    opened(journal, clock)
    assert end(journal, "ok", "x/old#1").word == "OPEN"
    clock.advance(5000)
    ask(journal)
    assert end(journal, "bad", "x/old#1").word == "HALF_OPEN"


def test_who_dies_with_a_probe_gives_it_back(journal: Journal, clock: FakeClock) -> None:
    opened(journal, clock, 5000)
    ask(journal)
    clock.advance(4999)
    assert ask(journal, "x/b#1").word == "HALF_OPEN"
    clock.advance(1)
    assert ask(journal, "x/b#1").word == "PROBE"


def test_a_probe_that_takes_longer_than_that_closes_it_all_the_same(
    journal: Journal, clock: FakeClock
) -> None:
    opened(journal, clock, 5000)
    ask(journal)
    clock.advance(60_000)
    assert end(journal, "ok").changed == "closed"


def test_so_many_probes_as_are_declared_must_go_well(journal: Journal, clock: FakeClock) -> None:
    two = Breaker(window=10, minimum=4, open_for=5, probes=2)
    opened(journal, clock, 5000)
    words = [ask(journal, f"x/{name}#1", two).word for name in "abc"]
    assert words == ["PROBE", "PROBE", "HALF_OPEN"]
    ended = [journal.ask_breaker("pay", two, f"x/{name}#1", ended="ok").word for name in "ab"]
    assert ended == ["HALF_OPEN", "CLOSED"]


# --- by hand --------------------------------------------------------------------------------------


def test_one_that_was_opened_by_hand_is_probed_when_its_time_is_over_or_never(
    journal: Journal, clock: FakeClock
) -> None:
    journal.switch_breaker("pay", opens=True, by="ada")
    clock.advance(3_600_000)
    found = ask(journal)
    assert (found.word, found.until) == ("OPEN", 0)
    journal.switch_breaker("pay", opens=True, until=journal.clock() + 1000, by="ada")
    assert ask(journal).word == "OPEN"
    clock.advance(1000)
    assert ask(journal).word == "PROBE"


def test_one_that_is_closed_by_hand_lets_everything_through(
    journal: Journal, clock: FakeClock
) -> None:
    opened(journal, clock)
    assert journal.switch_breaker("pay", opens=False, by="ada", why="repaired")
    assert not journal.switch_breaker("pay", opens=False, by="ada")
    assert ask(journal).word == "CLOSED"
    told = [(c.word, c.by, c.why) for c in journal.breaker_changes("pay")]
    assert told == [("closed", "ada", "repaired"), ("opened", "", "Broken: it broke")]


# --- when those that wait come back ---------------------------------------------------------------


def test_the_first_comes_at_the_probe_and_a_thousand_others_do_not_come_at_once(
    journal: Journal, clock: FakeClock
) -> None:
    opened(journal, clock, 1000)
    now, until = journal.clock(), journal.clock() + 4000
    due = [
        due_after(BREAKER, ask(journal, f"x/{n}#1"), f"x/{n}#1", now) - until for n in range(1000)
    ]
    assert due[0] == 0
    assert all(0 <= each <= 2500 for each in due)
    assert max(sum(at <= each < at + 250 for each in due) for at in range(0, 2500, 250)) < 150


def test_who_waits_for_one_that_is_open_for_long_looks_every_minute(journal: Journal) -> None:
    hours = Standing("OPEN", journal.clock() + 7_200_000, first=True)
    assert due_after(BREAKER, hours, "x/a#1", journal.clock()) == journal.clock() + 60_000


def test_a_step_that_waits_has_not_failed(journal: Journal) -> None:
    plan = plan_of(task("a", retry={"maxAttempts": 2, "interval": 0}))
    found = decided(plan, "a", Deferred(99_000, {"capability": "work", "since": 5}))
    assert found.state is not None and found.due == 99_000
    assert (found.state.status, found.state.failures) == (StepStatus.RETRYING, 0)
    assert found.state.attempt == 2
    assert [(e.word, e.attempt) for e in found.events] == [("breaker_open", 1)]


# --- in a worker ----------------------------------------------------------------------------------


@pytest.fixture
def runtime(redis: Redis, settings: Settings, redis_url: str) -> Iterator[Runtime]:
    runtime = Runtime(settings, redis_url)
    runtime.journal.clock = FakeClock()
    yield runtime
    runtime.close()


def guarded(runtime: Runtime, breaker: Breaker, *steps: dict[str, Any], **more: Any) -> Played:
    played = Played(runtime, *steps, **more)

    def call(node: Any, seen: Any, context: Any) -> Any:
        return type(played).call(played, node, seen, context)

    call.breaker = Guard(runtime.journal, "work", breaker)  # type: ignore[attr-defined]
    played.call = call  # type: ignore[method-assign]
    return played


def breaks(path: str, item: Any) -> Any:
    raise StepError("Broken", "it broke")


TOLERANT = Breaker(minimum=2, open_for=5)
AGAIN = {"maxAttempts": 9, "interval": 0}


def test_an_attempt_that_finds_it_open_is_given_back_before_it_begins(runtime: Runtime) -> None:
    played = guarded(runtime, TOLERANT, task("a", retry=AGAIN))
    played.act = breaks
    for _ in range(3):
        played.run_next()
        runtime.advancer.redispatch("x1", "a", played.worked.state("a"))
    assert played.runs == ["a", "a"]
    state = played.worked.state("a")
    assert (state.attempt, state.failures) == (4, 2)
    told = [e for e in played.journal.history("x1") if e.event == "breaker_open"]
    assert told[0].detail["capability"] == "work" and "due" in told[0].detail


def test_why_names_the_breaker_and_says_when_it_is_probed(runtime: Runtime) -> None:
    played = guarded(runtime, Breaker(minimum=1, open_for=5), task("a", retry=AGAIN))
    played.act = breaks
    played.run_next()
    runtime.advancer.redispatch("x1", "a", played.worked.state("a"))
    played.run_next()
    why = execution_context(runtime.journal, runtime.plans, "x1").waiting_for["a"]
    assert why.startswith("the breaker of capability 'work', open since 20")
    assert ", probed at 20" in why and why.endswith("; attempt 3 in 5.0 s")


def test_an_attempt_fails_at_once_where_that_is_declared(runtime: Runtime) -> None:
    breaker = Breaker(minimum=1, when_open="fail")
    played = guarded(runtime, breaker, task("a", retry={"maxAttempts": 2, "interval": 0}))
    played.act = breaks
    played.run_next()
    runtime.advancer.redispatch("x1", "a", played.worked.state("a"))
    played.run_next()
    error = played.journal.record("x1").error or {}
    assert (error["name"], error["data"]["capability"]) == ("BreakerOpen", "work")
    assert played.runs == ["a"]


@pytest.mark.parametrize("name", ["InvalidInput", "Conflict", "Known"])
def test_an_error_that_says_nothing_of_the_service_is_not_counted(
    runtime: Runtime, name: str
) -> None:
    played = guarded(runtime, Breaker(minimum=1, ignore=("Known",)), task("a"))

    def refuses(path: str, item: Any) -> Any:
        raise StepError(name, "no")

    played.act = refuses
    played.run_next()
    assert ask(played.journal, breaker=TOLERANT).word == "CLOSED"


def test_items_of_a_map_wait_without_a_message(runtime: Runtime) -> None:
    steps = {
        "id": "m",
        "type": "map",
        "map": {
            "items": "$.input",
            "maxConcurrency": 2,
            "steps": [task("a", retry=AGAIN)],
        },
    }
    played = guarded(runtime, Breaker(minimum=1, open_for=5), steps, input=[1, 2, 3])
    played.act = breaks
    played.run()
    states = played.states()
    live = {path for path, state in states.items() if state.status is StepStatus.RETRYING}
    assert live == {"m[0]/a", "m[1]/a"} and len(played.runs) == 1
    played.act = lambda path, item: item
    clock = runtime.journal.clock
    assert isinstance(clock, FakeClock)
    for _ in range(9):
        clock.advance(6000)
        for path, state in played.states().items():
            if state.status is StepStatus.RETRYING:
                runtime.advancer.redispatch("x1", path, state)
        played.run()
    assert played.output()["counts"] == {"succeeded": 3, "failed": 0, "cancelled": 0, "total": 3}


def test_a_bundle_respects_it(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orch.tasks.pace._means", {"work": 0.0001})
    branches = [{"steps": [task(f"s{n}", retry=AGAIN)]} for n in range(9)]
    steps = {"id": "p", "type": "parallel", "parallel": {"branches": branches}}
    played = guarded(runtime, Breaker(minimum=1, open_for=5), steps)
    played.act = breaks
    first, *others = played.messages
    played.messages.clear()
    played.do(first, others)
    played.run()
    assert len(played.runs) == 1
    assert {s.status for p, s in played.states().items() if p != "p"} == {StepStatus.RETRYING}


def test_successes_are_told_once_a_second_and_failures_at_once(runtime: Runtime) -> None:
    asked: list[Any] = []
    real = runtime.journal.ask_breaker

    def counted(*given: Any, **more: Any) -> Standing:
        asked.append(more.get("calls"))
        return real(*given, **more)

    runtime.journal.ask_breaker = counted  # type: ignore[method-assign]
    items = {"items": "$.input", "maxConcurrency": 1, "steps": [task("a")]}
    played = guarded(runtime, BREAKER, {"id": "m", "type": "map", "map": items}, input=[1] * 50)
    played.run()
    assert len(asked) <= 3 and len(played.runs) == 50


def test_a_redis_that_is_away_lets_everything_through(runtime: Runtime) -> None:
    played = guarded(runtime, BREAKER, task("a"))
    caller: Any = played.call
    caller.breaker.journal = Journal(open_redis("redis://127.0.0.1:1"), runtime.settings)
    played.run()
    assert played.runs == ["a"]


def test_a_service_that_hangs_is_counted_by_the_warden(journal: Journal) -> None:
    journal.declare_breakers({"work": Breaker(minimum=1)})
    assert journal.count_late("other", "x1/a#1", "StepTimeout") is None
    found = journal.count_late("work", "x1/a#1", "StepTimeout")
    assert found is not None and found.changed == "opened"


# --- what is declared -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"failure_rate": 0}, "`failure_rate` of a breaker is 0, and should be a number above 0"),
        ({"failure_rate": 1.5}, "at most 1"),
        ({"window": "60"}, "`window` of a breaker is '60', and should be seconds"),
        ({"minimum": 0}, "a whole number from 1 on"),
        ({"open_for": float("nan")}, "`open_for` of a breaker is nan"),
        ({"probes": True}, "`probes` of a breaker is True"),
        ({"when_open": "sleep"}, "`wait`, `fail` or `fallback`"),
        ({"ignore": "Broken"}, "a list of names of errors"),
        ({"rate": 1}, "a breaker has no field 'rate'"),
    ],
)
def test_a_breaker_that_is_none_is_refused_with_what_was_found(wrong: Any, said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Breaker.of(wrong)
    assert said in raised.value.message
    with pytest.raises(SettingsError, match="of 'pay'"):
        load_settings(breakers={"pay": wrong})


def test_the_settings_prevail_over_what_is_declared_with_the_capability(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("orch.toml").write_text("[breakers.pay]\nopen_for = 7\nignore = ['Known']\n")
    settings = load_settings()
    found = Capability("pay", lambda: 1, breaker=Breaker(open_for=3))
    monkeypatch.setattr("orch.tasks.worker.registry", lambda: {"pay": found, "ask": found})
    assert breaker_of("pay", settings) == Breaker(open_for=7, ignore=("Known",))
    assert breaker_of("ask", settings) == Breaker(open_for=3)
    assert breaker_of("none", settings) is None


# --- from outside ---------------------------------------------------------------------------------


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings) -> Iterator[Orchestrator]:
    with Orchestrator(settings) as orchestrator:
        orchestrator.runtime.journal.declare_breakers({"pay": BREAKER, "other": None})
        yield orchestrator


def test_breakers_are_listed_opened_and_closed_from_python(orchestrator: Orchestrator) -> None:
    count(orchestrator.runtime.journal, 3, 1)
    [found] = orchestrator.list_breakers()
    assert (found.capability, found.state, found.calls, found.rate) == ("pay", "closed", 3, 1 / 3)
    shown = orchestrator.open_breaker("pay", "maintenance", seconds=60, by="ada")
    assert (shown.state, shown.by, shown.reason) == ("open", "ada", "maintenance")
    assert shown.until is not None
    assert orchestrator.close_breaker("pay", by="bob")
    assert not orchestrator.close_breaker("pay", by="bob")
    assert [c.change for c in orchestrator.show_breaker("pay").changes] == ["closed", "opened"]
    with pytest.raises(NotFound, match="capability 'other' has no breaker"):
        orchestrator.open_breaker("other")
    with pytest.raises(InputError, match="cannot be opened for -1 seconds"):
        orchestrator.open_breaker("pay", seconds=-1)


def test_and_from_coroutines(orchestrator: Orchestrator, settings: Settings) -> None:
    async def switch() -> list[str]:
        async with AsyncOrchestrator(settings) as outside:
            opened = await outside.open_breaker("pay", seconds=9)
            await outside.close_breaker("pay")
            shown = await outside.show_breaker("pay")
            return [opened.state, shown.state, (await outside.list_breakers())[0].state]

    assert asyncio.run(switch()) == ["open", "closed", "closed"]


def test_the_command_line_shows_and_switches_them(
    orchestrator: Orchestrator, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str, code: int = 0) -> str:
        assert run_command(["breakers", *arguments, "--redis", redis_url]) == code
        printed = capsys.readouterr()
        return printed.out if code == 0 else printed.err

    assert "pay" in run() and "closed" in run()
    assert "is open since" in run("open", "pay", "--for", "10m", "--reason", "maintenance")
    shown = json.loads(run("show", "pay", "--json"))
    assert (shown["state"], shown["reason"]) == ("open", "maintenance")
    assert "pay is closed" in run("reset", "pay")
    assert json.loads(run("--json"))[0]["state"] == "closed"
    assert "takes the name of a capability" in run("open", code=2)
    assert "--for 'soon'" in run("open", "pay", "--for", "soon", code=2)
    assert "capability 'nobody' has no breaker" in run("close", "nobody", code=2)


# --- with real workers ----------------------------------------------------------------------------

SERVICE = """
import os, time
from pathlib import Path
from orch import Breaker, capability

HERE = Path(__file__).parent

OPEN_FOR = float(os.environ.get("OPEN_FOR", "0.5"))

@capability("pay", breaker=Breaker(minimum=3, open_for=OPEN_FOR))
def pay(number: int = 0) -> int:
    if (HERE / "hangs").exists():
        (HERE / "probing").write_text(str(os.getpid()))
        while (HERE / "hangs").exists():
            time.sleep(0.05)
    with (HERE / "calls").open("a") as calls:
        calls.write(f"{number}\\n")
    if not (HERE / "up").exists():
        raise ConnectionError("the service is down")
    return number

@capability("quick")
def quick() -> str:
    return "done"
"""

PAY = {
    "name": "Pay",
    "steps": [
        {
            "id": "pay",
            "capability": "pay",
            "input": {"number": "$.input.n"},
            "retry": {"maxAttempts": 20, "interval": 50},
        }
    ],
}
QUICK = {"name": "Quick", "steps": [{"id": "quick", "capability": "quick"}]}


@pytest.fixture
def service(tmp_path: Path) -> Path:
    (tmp_path / "service.py").write_text(SERVICE)
    return tmp_path / "service.py"


def test_a_failing_service_is_left_alone_by_all_workers_until_a_probe_goes_well(
    redis: Redis, settings: Settings, service: Path, wait_until: Callable[..., Any]
) -> None:
    calls = service.parent / "calls"
    with (
        Orchestrator(settings) as orchestrator,
        orchestrator.workers(include=[str(service)], count=2, concurrency=1),
    ):
        orchestrator.define_workflow("pay", PAY)
        orchestrator.define_workflow("quick", QUICK)
        started = [orchestrator.start_workflow("pay", {"n": n}) for n in range(12)]
        wait_until(lambda: orchestrator.show_breaker("pay").state == "open")
        whys = wait_until(
            lambda: [
                why
                for each in started
                for why in each.status().waiting_for.values()
                if why.startswith("the breaker of capability 'pay'")
            ]
        )
        assert "open since" in whys[0]
        assert orchestrator.start_workflow("quick").wait(timeout=10).status == "completed"
        wait_until(lambda: any(c.change == "reopened" for c in _changes(orchestrator)))
        wait_until(lambda: not _running(started))  # no slot is held
        while_down = len(calls.read_text().split())
        (service.parent / "up").touch()
        ended = [each.wait(timeout=30) for each in started]
        assert {each.status for each in ended} == {"completed"}
        assert orchestrator.show_breaker("pay").state == "closed"
    assert while_down < 12 * 3, "they went on calling"


def _changes(orchestrator: Orchestrator) -> list[Any]:
    return orchestrator.show_breaker("pay").changes


def _running(started: list[Any]) -> bool:
    return any(step.status == "running" for each in started for step in each.status().steps)


def test_a_worker_that_is_killed_with_the_probe_gives_it_back(
    redis: Redis, settings: Settings, service: Path, wait_until: Callable[..., Any]
) -> None:
    here = service.parent
    with (
        Orchestrator(settings) as orchestrator,
        orchestrator.workers(
            include=[str(service)], count=2, concurrency=1, environment={"OPEN_FOR": "2"}
        ) as workers,
    ):
        orchestrator.define_workflow("pay", PAY)
        started = [orchestrator.start_workflow("pay", {"n": n}) for n in range(4)]
        # From here on nobody but a probe calls: they come back later than a worker believes.
        wait_until(lambda: all(_waits_for_the_breaker(each) for each in started))
        (here / "hangs").touch()
        child = int(wait_until(lambda: (here / "probing").exists() and _text(here / "probing")))
        assert orchestrator.show_breaker("pay").probes == 1
        parent = next(p for p in workers.processes if _is_child(child, p.pid))
        os.killpg(parent.pid, signal.SIGKILL)
        (here / "up").touch()
        (here / "hangs").unlink()
        assert {each.wait(timeout=30).status for each in started} == {"completed"}
        assert orchestrator.show_breaker("pay").state == "closed"


def _waits_for_the_breaker(execution: Any) -> bool:
    found = list(execution.status().waiting_for.values())
    return bool(found) and all(why.startswith("the breaker of") for why in found)


def _text(path: Path) -> str:
    return path.read_text()


def _is_child(pid: int, parent: int) -> bool:
    import psutil

    return any(each.pid == parent for each in psutil.Process(pid).parents())
