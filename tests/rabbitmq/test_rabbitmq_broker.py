"""RabbitMQ as the broker: what is declared, sent, taken, counted, and how it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.worker import state as worker_state
from kombu import Connection
from redis import Redis

from orch import Orchestrator
from orch.app import create_app, dispatch, queue_depth
from orch.control.handing_on import HandedOn, HandingOn
from orch.errors import Unreachable
from orch.settings import Settings
from orch.tasks import acknowledging
from orch.tasks.acknowledging import Acknowledging
from orch.tasks.request import StepRequest
from orch.workflows.agents import agent_queue
from orch.workflows.canvas import compile_canvas
from tests.build import parallel, plan_of, task
from tests.rabbit import PASSWORD, Rabbit

pytestmark = pytest.mark.rabbitmq

ROOT = Path(__file__).parent.parent.parent
CODE = """
import time
from pathlib import Path
from orch import capability

@capability("work")
def work(name="", folder=".", hold=None):
    while hold and not Path(hold).exists():
        time.sleep(0.01)
    with open(Path(folder) / "done", "a") as file:
        file.write(name + "\\n")
    return name
"""
WaitUntil = Callable[..., Any]


@pytest.fixture
def url(rabbit: Rabbit) -> str:
    return rabbit.vhost()


@pytest.fixture
def given(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"broker_url": url})


@pytest.fixture
def app(given: Settings, redis_url: str) -> Iterator[Celery]:
    app = create_app(given, redis_url)
    yield app
    app.close()


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    with Connection(url) as connection:
        yield connection


@pytest.fixture
def orchestrator(redis: Redis, given: Settings) -> Iterator[Orchestrator]:
    with Orchestrator(given) as made:
        yield made


@pytest.fixture
def code(tmp_path: Path) -> str:
    path = tmp_path / "rabbit_code.py"
    path.write_text(CODE)
    return str(path)


def kind_of(connection: Connection, queue: str) -> dict[str, Any]:
    """What RabbitMQ has kept of the arguments of a queue: it accepts no others."""
    for arguments in ({"x-queue-type": "quorum"}, {"x-max-priority": 9}, {}):
        with connection.channel() as channel:
            try:
                channel.queue_declare(queue, durable=True, auto_delete=False, arguments=arguments)
            except connection.channel_errors:
                continue
            return arguments
    raise AssertionError(f"{queue} was declared in a way that nobody thought of")


def one_step(orchestrator: Orchestrator, **more: Any) -> None:
    given = {"name": "$.input.name", "folder": "$.input.folder", "hold": "$.input.hold"}
    steps = [{"id": "a", "capability": "work", "input": given} | more]
    orchestrator.define_workflow("w", {"name": "w", "steps": steps})


class TestQueues:
    @pytest.mark.parametrize(
        ("kind", "arguments"),
        [("quorum", {"x-queue-type": "quorum"}), ("classic", {"x-max-priority": 9})],
    )
    def test_one_is_there_with_its_first_message_and_counts_them(
        self,
        given: Settings,
        redis_url: str,
        connection: Connection,
        kind: str,
        arguments: dict[str, Any],
        wait_until: WaitUntil,
    ) -> None:
        app = create_app(given.model_copy(update={"queue_type": kind}), redis_url)
        plan = plan_of(parallel("p", [task("a")], [task("b")]))
        assert queue_depth(app, "work", connection) == 0
        dispatch(app, compile_canvas(plan, "x", ["p/0/a", "p/1/b"]))
        wait_until(lambda: queue_depth(app, "work", connection) == 2)
        assert kind_of(connection, "work") == arguments
        app.close()

    def test_one_that_was_deleted_is_declared_again_by_who_has_seen_that(
        self, app: Celery, connection: Connection, wait_until: WaitUntil
    ) -> None:
        canvases = compile_canvas(plan_of(task("a")), "x", ["a"])
        producer = app.amqp.Producer(connection, auto_declare=False)
        dispatch(app, canvases, producer)
        connection.default_channel.queue_delete("work")
        assert queue_depth(app, "work", connection) == 0
        dispatch(app, canvases, producer)
        wait_until(lambda: queue_depth(app, "work", connection) == 1)

    def test_that_of_one_agent_goes_some_time_after_it(self, app: Celery) -> None:
        queues = app.amqp.queues
        assert queues[agent_queue("lint")].queue_arguments["x-expires"] == 3_600_000
        assert "x-expires" not in queues["code_linting"].queue_arguments

    def test_one_that_was_declared_in_another_way_is_named(
        self, app: Celery, connection: Connection
    ) -> None:
        connection.default_channel.queue_declare("work", durable=True, auto_delete=False)
        with pytest.raises(Unreachable, match=r"declared in another way.*'work'") as caught:
            dispatch(app, compile_canvas(plan_of(task("a")), "x", ["a"]))
        assert "ORCH_QUEUE_TYPE" in caught.value.hint


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ((PASSWORD, "wrong"), "refuses the login: its user or password is wrong"),
            (("/test", "/nowhere"), "refuses the connection: .*vhost"),
        ],
    )
    def test_who_sends_is_told_what_is_wrong_in_the_url_without_the_password(
        self, given: Settings, redis_url: str, change: tuple[str, str], said: str
    ) -> None:
        wrong = str(given.broker_url).replace(*change)
        app = create_app(given.model_copy(update={"broker_url": wrong}), redis_url)
        with pytest.raises(Unreachable, match=said) as caught:
            dispatch(app, compile_canvas(plan_of(task("a")), "x", ["a"]))
        assert "ORCH_BROKER_URL" in caught.value.hint
        assert "wrong@" not in str(caught.value) and PASSWORD not in str(caught.value)
        app.close()

    def test_a_worker_ends_with_the_sentence(self, given: Settings, redis: Redis) -> None:
        wrong = str(given.broker_url).replace(PASSWORD, "wrong")
        own = {"ORCH_REDIS_URL": str(given.redis_url), "ORCH_BROKER_URL": wrong}
        clean = {k: v for k, v in os.environ.items() if not k.startswith("ORCH_")}
        ended = subprocess.run(
            [sys.executable, "-m", "celery", "-A", "worker", "worker"],
            cwd=ROOT,
            env={**clean, **own},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (ended.returncode, "refuses the login" in ended.stderr) == (4, True), ended.stderr
        assert "wrong@" not in ended.stderr


class TestHeld:
    def test_a_message_is_acknowledged_when_its_step_lasts(
        self,
        app: Celery,
        connection: Connection,
        monkeypatch: pytest.MonkeyPatch,
        wait_until: WaitUntil,
    ) -> None:
        dispatch(app, compile_canvas(plan_of(task("a")), "x", ["a"]))

        @app.task(name="orch.work")
        def work() -> None: ...

        channel = connection.channel()
        message = channel.message_to_python(wait_until(lambda: channel.basic_get("work")))
        request = StepRequest(
            message,
            on_ack=message.ack_log_error,
            on_reject=message.reject_log_error,
            app=app,
            task=work,
            body=message.body,
            headers=message.headers,
            decoded=False,
            utc=True,
        )
        worker_state.reserved_requests.add(request)
        now = [100.0]
        monkeypatch.setattr("orch.tasks.acknowledging.time.monotonic", lambda: now[0])
        looks = Acknowledging()
        looks.look()
        now[0] += acknowledging.HELD - 1
        looks.look()
        assert not request.acknowledged
        now[0] += acknowledging.LOOKED_EVERY
        looks.look()
        assert request.acknowledged
        worker_state.reserved_requests.discard(request)
        channel.close()
        assert queue_depth(app, "work", connection) == 0  # else it would be there again


class TestWorkers:
    def test_steps_of_all_kinds_are_done_and_the_queues_are_known(
        self, orchestrator: Orchestrator, code: str, tmp_path: Path, wait_until: WaitUntil
    ) -> None:
        quick = {"capability": "work", "input": {"folder": str(tmp_path)}}
        fork = {"branches": [{"steps": [{"id": f"b{n}", **quick}]} for n in range(3)]}
        steps = [
            {"id": "a", **quick, "next": "fork"},
            {"id": "fork", "type": "parallel", "parallel": fork, "next": "each"},
            {"id": "each", "type": "map", "map": {"items": list(range(20)), **quick},
             "next": "pause"},
            {"id": "pause", "type": "wait", "wait": {"duration": 100}, "next": "last"},
            {"id": "last", **quick},
        ]  # fmt: skip
        orchestrator.define_workflow("kinds", {"name": "kinds", "steps": steps})
        before = orchestrator.start_workflow("kinds")
        (load,) = wait_until(lambda: [x for x in orchestrator.get_scaling() if x.depth == 1])
        assert (load.capability, load.oldest, load.workers) == ("work", None, 0)
        with orchestrator.workers(include=[code], queues=["work"], pool="threads"):
            after = orchestrator.start_workflow("kinds")
            assert [each.wait(60).status for each in (before, after)] == ["completed"] * 2
        assert len((tmp_path / "done").read_text().splitlines()) == 2 * (1 + 3 + 20 + 1)

    def test_what_waits_for_a_worker_that_is_drained_is_handed_on(
        self, orchestrator: Orchestrator, wait_until: WaitUntil, connection: Connection
    ) -> None:
        """The worker is none: what lies in its queue is all that counts here."""
        app = orchestrator.runtime.app
        canvases = compile_canvas(
            plan_of(task("a")), "gone", ["a"], queues={"a": agent_queue("me")}
        )
        dispatch(app, canvases)
        wait_until(lambda: queue_depth(app, agent_queue("me"), connection) == 1)
        handing = HandingOn(orchestrator.runtime, connection)
        assert handing.depth("me") == 1
        assert handing.hand_on("me") == HandedOn()  # of no execution: it is thrown away
        assert handing.depth("me") == 0

    def test_the_urgent_one_is_run_next_where_queues_are_classic(
        self, redis: Redis, given: Settings, code: str, tmp_path: Path, wait_until: WaitUntil
    ) -> None:
        go = tmp_path / "go"
        with Orchestrator(given.model_copy(update={"queue_type": "classic"})) as orchestrator:
            one_step(orchestrator)

            def start(name: str, hold: str | None = None, **more: Any) -> Any:
                told = {"name": name, "folder": str(tmp_path), "hold": hold}
                return orchestrator.start_workflow("w", told, **more)

            with orchestrator.workers(
                include=[code], queues=["work"], pool="solo", concurrency=1
            ) as workers:
                held = start("held", str(go))
                wait_until(lambda: held.status().steps[0].status == "running")
                late = [start(f"low{n}") for n in range(5)]
                late.append(start("high", priority=7))
                why = orchestrator.manager.why(late[0].id).waiting_for["a"]
                assert "at most" in why and "messages before it" in why
                go.touch()
                assert [each.wait(60).status for each in late] == ["completed"] * 6
                (process,) = workers.processes
                process.terminate()
                assert process.wait(30) == 0
        assert (tmp_path / "done").read_text().split()[:2] == ["held", "high"]
