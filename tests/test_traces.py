"""Traces: one for each execution, a span for each attempt, whoever dies on the way."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis

from orch import Orchestrator, otel
from orch.errors import InputError
from orch.settings import Settings
from orch.workflows.traces import TraceContext, span_of_attempt, span_of_execution, trace_of
from tests.build import parallel, task
from tests.collector import Collector, Sent, collecting
from tests.model_server import KEY, ModelServer

CODE = """
import os, signal, time
from opentelemetry import trace
from orch import Context, StepError, capability

@capability("trace_plain")
def plain(context: Context):
    with trace.get_tracer("user").start_as_current_span("inside") as span:
        span.set_attribute("orch.execution", context.execution_id)

@capability("trace_async")
async def asynchronous(context: Context):
    with trace.get_tracer("user").start_as_current_span("awaited") as span:
        span.set_attribute("orch.execution", context.execution_id)

@capability("trace_flaky")
def flaky(context: Context):
    if context.attempt == 1:
        raise StepError("Flaky", "password=hunter22 is wrong")

@capability("trace_die")
def die(context: Context):
    if context.attempt == 1:
        while not os.path.exists(os.environ["TRACES_SENT"]):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGKILL)

@capability("trace_hold")
def hold(context: Context):
    while not context.cancelled():
        time.sleep(0.02)

@capability("trace_seen")
def seen(context: Context):
    place = trace.get_current_span().get_span_context()
    return {"trace": format(place.trace_id, "032x"), "span": format(place.span_id, "016x")}
"""

CHILD = {"name": "child", "steps": [{"id": "deep", "capability": "trace_plain"}]}
ALL = {
    "name": "all",
    "steps": [
        {"id": "plain", "capability": "trace_plain", "next": "flaky"},
        {
            "id": "flaky",
            "capability": "trace_flaky",
            "retry": {"maxAttempts": 2, "interval": 10},
            "next": "die",
        },
        {"id": "die", "capability": "trace_die", "next": "both"},
        parallel(
            "both",
            [task("a", capability="trace_async")],
            [task("b", capability="trace_plain")],
            next="call",
        ),
        {"id": "call", "type": "subworkflow", "subworkflow": "child"},
    ],
}


HOLD = {"capability": "trace_hold"}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        monkeypatch.setattr(otel, "_provider", None)
        yield found
        otel.flush()
        monkeypatch.setattr(otel, "_provider", None)


@pytest.fixture
def code(tmp_path: Path) -> str:
    path = tmp_path / "traced_code.py"
    path.write_text(CODE)
    return str(path)


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings, collector: Collector) -> Iterator[Orchestrator]:
    traced = settings.model_copy(update={"tracing": "otel"})
    with Orchestrator(traced) as made:
        yield made


def one(spans: list[Sent]) -> Sent:
    assert len(spans) == 1, spans
    return spans[0]


@pytest.mark.slow
def test_an_execution_is_one_trace_with_a_span_for_each_attempt(
    orchestrator: Orchestrator,
    collector: Collector,
    code: str,
    tmp_path: Path,
    wait_until: Callable[..., Any],
) -> None:
    sent = tmp_path / "sent"
    orchestrator.define_workflow("child", CHILD)
    orchestrator.define_workflow("all", ALL)
    with orchestrator.workers(include=[code], environment={"TRACES_SENT": str(sent)}):
        started = orchestrator.start_workflow("all")
        wait_until(lambda: len(collector.at(started.id, "flaky")) == 2)
        sent.touch()  # a process that is killed takes the spans of its last second with it
        assert started.wait(timeout=30).status == "completed"
        root = wait_until(lambda: collector.root(started.id))
        wait_until(lambda: len(collector.at(started.id, "call")) == 1)
    assert collector.paths == {"/v1/traces"}
    attempts = [each for each in collector.of(started.id) if "orch.attempt" in each.told]
    assert {each.trace for each in collector.spans} == {f"{trace_of(started.id):032x}"}
    assert root.parent == "" and root.span == f"{span_of_execution(started.id):016x}"
    assert {each.parent for each in attempts} == {root.span}
    assert (root.name, root.told["orch.status"], root.failed) == ("all", "completed", False)
    plain = one(collector.at(started.id, "plain"))
    assert plain.name == "trace_plain/plain"
    assert plain.told["orch.outcome"] == "completed" and plain.told["orch.worker"]
    assert plain.told["orch.queue_wait_ms"] >= 0
    failed, again = collector.at(started.id, "flaky")
    assert (failed.told["orch.outcome"], failed.failed) == ("failed", True)
    assert failed.told["error.type"] == "Flaky"
    (raised,) = failed.events
    assert "hunter22" not in str(raised) and raised["exception.type"] == "Flaky"
    assert (again.told["orch.outcome"], again.link) == ("completed", failed.span)
    lost, after = collector.at(started.id, "die")
    assert (lost.told["orch.outcome"], lost.failed, after.link) == ("lost", True, lost.span)
    assert lost.ended > lost.begun
    awaited = one([each for each in collector.spans if each.name == "awaited"])
    assert awaited.parent == one(collector.at(started.id, "both/0/a")).span
    for each in (each for each in collector.spans if each.name == "inside"):
        assert each.parent in {other.span for other in collector.spans if other.name != "inside"}
    call = one(collector.at(started.id, "call"))
    below = one([each for each in collector.spans if each.parent == call.span])
    assert (below.name, below.told["orch.status"]) == ("child", "completed")
    deep = one([each for each in collector.spans if each.told.get("orch.path") == "deep"])
    assert deep.parent == below.span
    assert len({each.span for each in collector.spans}) == len(collector.spans)
    assert {each.service for each in collector.spans} == {"orch"}


@pytest.mark.slow
def test_attempts_that_came_together_and_one_that_is_cancelled_have_a_span_each(
    orchestrator: Orchestrator, collector: Collector, code: str, wait_until: Callable[..., Any]
) -> None:
    branches = [[task(f"s{n}", capability="trace_seen")] for n in range(30)]
    steps = [parallel("all", *branches, output={"o": "$.output"})]
    orchestrator.define_workflow("wide", {"name": "wide", "steps": steps})
    orchestrator.define_workflow("held", {"name": "held", "steps": [task("a", **HOLD)]})
    with orchestrator.workers(include=[code], concurrency=1, pool="threads"):
        for _ in range(2):  # the first tells how quick it is
            started = orchestrator.start_workflow("wide")
            assert started.wait(timeout=30).status == "completed"
        held = orchestrator.start_workflow("held")
        wait_until(lambda: {"running"} == {s.status for s in held.status().steps})
        orchestrator.terminate_workflow(held.id)
        wait_until(lambda: collector.at(held.id, "a"))
        wait_until(lambda: len(collector.of(started.id)) == 31)
    attempts = {each.span: each for each in collector.of(started.id) if "orch.path" in each.told}
    seen = orchestrator.get_execution_status(started.id).variables["o"]["results"]
    assert {each["span"] for each in seen} == set(attempts)
    assert one(collector.at(held.id, "a")).told["orch.outcome"] == "cancelled"


@pytest.mark.slow
def test_a_language_model_is_traced_without_what_was_said(
    orchestrator: Orchestrator, collector: Collector, wait_until: Callable[..., Any]
) -> None:
    server = ModelServer()
    server.answers = [lambda reply: reply.say("a secret answer")]
    given = {"llm_base_url": server.url, "llm_model": "m", "llm_api_key": SecretStr(KEY)}
    asks = Orchestrator(orchestrator.runtime.settings.model_copy(update=given))
    step = task("ask", capability="llm", input={"prompt": "a secret question"})
    asks.define_workflow("w", {"name": "w", "steps": [step]})
    with asks, asks.workers(queues=["llm"], pool="threads"):
        started = asks.start_workflow("w")
        assert started.wait(timeout=60).status == "completed"
        attempt = one(wait_until(lambda: collector.at(started.id, "ask")))
        below = [
            s for s in collector.spans if s.trace == attempt.trace and s.begun >= attempt.begun
        ]
    server.close()
    asked = one([each for each in below if each.name.startswith("chat")])
    assert attempt.span in {each.parent for each in below} and asked.parent in {
        each.span for each in below
    }
    assert asked.told["gen_ai.request.model"] == "m" and asked.told["gen_ai.usage.input_tokens"]
    assert "secret" not in str(below)


def test_an_execution_stands_below_whoever_starts_it(
    orchestrator: Orchestrator, collector: Collector
) -> None:
    orchestrator.define_workflow("w", {"name": "w", "steps": [{"id": "a", "capability": "none"}]})
    above = TraceContext(0xABC, 0xDEF)
    given = orchestrator.start_workflow("w", traceparent=above.header)
    otel.serve_user_code()
    tracer = otel._of_process().get_tracer("caller")
    with tracer.start_as_current_span("caller") as caller:
        within = orchestrator.start_workflow("w")
        (many,) = orchestrator.start_workflows([("w", None)])
    for each in (given, within, many):
        orchestrator.terminate_workflow(each.id)
    otel.flush(30)
    place = caller.get_span_context()
    root = collector.root(given.id)
    assert root is not None and root.told["orch.status"] == "cancelled" and root.failed
    assert (int(root.trace, 16), int(root.parent, 16)) == (above.trace, above.span)
    for each in (within, many):
        root = collector.root(each.id)
        assert root is not None
        assert orchestrator.get_execution_status(each.id).trace_id == root.trace
        assert (int(root.trace, 16), int(root.parent, 16)) == (place.trace_id, place.span_id)


def test_what_its_caller_does_not_sample_is_not_sent(
    orchestrator: Orchestrator, collector: Collector
) -> None:
    orchestrator.define_workflow("w", {"name": "w", "steps": [{"id": "a", "capability": "none"}]})
    quiet = orchestrator.start_workflow("w", traceparent=TraceContext(1, 2, sampled=False).header)
    loud = orchestrator.start_workflow("w")
    for each in (quiet, loud):
        orchestrator.terminate_workflow(each.id)
    otel.flush(30)
    assert collector.root(quiet.id) is None and collector.root(loud.id) is not None


def test_messages_carry_the_context_of_their_execution(
    orchestrator: Orchestrator, redis: Redis
) -> None:
    steps = [{"id": "a", "capability": "one", "next": "b"}, {"id": "b", "capability": "two"}]
    orchestrator.define_workflow("w", {"name": "w", "steps": steps})
    started = orchestrator.start_workflow("w")
    (text,) = redis.lrange("one", 0, -1)
    expected = TraceContext(trace_of(started.id), span_of_execution(started.id)).header
    assert json.loads(text)["headers"]["traceparent"] == expected


def test_the_first_message_carries_the_context_of_whoever_starts(
    orchestrator: Orchestrator, redis: Redis
) -> None:
    orchestrator.define_workflow("w", {"name": "w", "steps": [{"id": "a", "capability": "one"}]})
    orchestrator.start_workflow("w")
    started = orchestrator.start_workflow("w", traceparent=TraceContext(1, 2).header)
    text, _ = redis.lrange("one", 0, -1)
    expected = TraceContext(1, span_of_execution(started.id)).header
    assert json.loads(text)["headers"]["traceparent"] == expected


@pytest.mark.parametrize(
    "given", ["", "00-x", f"00-{0:032x}-{1:016x}-01", f"ff-{1:032x}-{1:016x}-01", 7]
)
def test_a_context_that_is_none_is_refused(given: Any, redis: Redis, settings: Settings) -> None:
    with Orchestrator(settings) as orchestrator:
        orchestrator.define_workflow("w", {"name": "w", "steps": [{"id": "a", "task": "t"}]})
        with pytest.raises(InputError, match="traceparent"):
            orchestrator.start_workflow("w", traceparent=given)


def test_contexts_are_written_and_read_as_w3c_has_them() -> None:
    place = TraceContext(trace_of("e"), span_of_attempt("e", "a", 1))
    assert TraceContext.of(place.header) == place
    assert TraceContext.of(place.header.replace("00-", "cc-", 1) + "-more") == place
    assert TraceContext.of(place.header + "-more") is None
    assert len({span_of_attempt("e", "a", 1), span_of_attempt("e", "a", 2)}) == 2


@pytest.mark.slow
def test_a_collector_that_is_away_holds_nothing_up(
    redis: Redis, settings: Settings, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes connections, and is silent
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setattr(otel, "_provider", None)
        with Orchestrator(settings.model_copy(update={"tracing": "otel"})) as orchestrator:
            step = {"id": "a", "capability": "trace_plain"}
            orchestrator.define_workflow("w", {"name": "w", "steps": [step]})
            with orchestrator.workers(include=[code], pool="threads") as workers:
                for _ in range(3):
                    assert orchestrator.start_workflow("w").wait(timeout=10).status == "completed"
                (process,) = workers.processes
                process.terminate()
                assert process.wait(15) == 0
    monkeypatch.setattr(otel, "_provider", None)


def test_nothing_of_it_is_imported_where_it_is_off(settings: Settings, redis: Redis) -> None:
    script = (
        "import sys\n"
        "from orch.tasks.worker import create_worker_app\n"
        "create_worker_app()\n"
        "ours = ('orch.otel', 'opentelemetry.sdk.trace', 'opentelemetry.exporter')\n"
        "print([name for name in ours if name in sys.modules])\n"
    )
    environment = {**os.environ, "ORCH_REDIS_URL": str(settings.redis_url)}
    found = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
