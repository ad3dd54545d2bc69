"""Steps that ask a language model: of a real server, on this machine."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis

import orch.agents.builtin.llm  # noqa: F401
from orch import Orchestrator
from orch.agents import capability as capabilities
from orch.agents.capability import capability
from orch.agents.context import Context
from orch.agents.models import asking, choosing
from orch.agents.models.defined import defined_agents, register
from orch.control.logs import read_logs
from orch.control.runtime import Runtime
from orch.control.spending import usage_of
from orch.errors import RetryAfter, SettingsError, StepCancelled, StepError
from orch.llm import LlmAgent
from orch.settings import Settings
from orch.tasks.step import call_capability
from orch.workflows.state import ExecutionStatus
from tests.build import task
from tests.model_server import KEY, ModelServer, Reply
from tests.played import Played

SCHEMA = {
    "type": "object",
    "properties": {"urgent": {"type": "boolean"}, "score": {"type": "integer", "maximum": 5}},
    "required": ["urgent"],
}


def ask(context: Context | None = None, **given: Any) -> Any:
    found = capabilities.get("llm")
    assert found is not None
    return found.call({"prompt": "Say hello", **given}, context or Context())


def refused(**given: Any) -> StepError:
    with pytest.raises(StepError) as caught:
        ask(**given)
    return caught.value


class TestAnswers:
    def test_a_text(self, server: ModelServer) -> None:
        given = {"temperature": 0.5, "maxTokens": 50, "data": {"name": "Ada"}}
        assert ask(instructions="Be kind.", **given) == "Hello Ada"
        [request] = server.requests
        assert (request["model"], request["temperature"], request["stream"]) == ("small", 0.5, True)
        said = [message["content"] for message in request["messages"]]
        assert said == ["Be kind.", 'Say hello\n\n{\n "name": "Ada"\n}']
        assert 50 in (request.get("max_tokens"), request.get("max_completion_tokens"))

    def test_a_value_by_its_schema(self, server: ModelServer) -> None:
        server.answers = [lambda reply: reply.answer(urgent=True)]
        assert ask(outputSchema=SCHEMA) == {"urgent": True}

    def test_a_value_that_does_not_fit_is_asked_for_again(self, server: ModelServer) -> None:
        server.answers = [
            lambda reply: reply.answer(urgent=True, score=9),
            lambda reply: reply.answer(urgent=True, score=3),
        ]
        assert ask(outputSchema=SCHEMA) == {"urgent": True, "score": 3}
        assert "9 is greater than the maximum of 5" in json.dumps(server.requests[1]["messages"])

    def test_a_model_that_never_fits_is_given_up(self, server: ModelServer) -> None:
        server.answers = [lambda reply: reply.answer(score=9)]
        error = refused(outputSchema=SCHEMA)
        assert (error.name, error.error_class) == ("ModelMisbehaved", "transient")

    def test_another_model_may_be_named(self, server: ModelServer) -> None:
        ask(model="large")
        assert server.requests[0]["model"] == "large"


@capability("stock_of")
def stock_of(article: str, context: Context) -> dict[str, Any]:
    """How many of an article there are."""
    if article == "broken":
        raise StepError("WarehouseClosed", "come back tomorrow")
    return {"article": article, "count": 7, "key": context.idempotency_key}


class TestTools:
    def test_it_calls_capabilities_of_this_process(self, server: ModelServer) -> None:
        def last(reply: Reply) -> None:
            reply.say(f"There are {json.loads(reply.results()[0])['count']}.")

        server.answers = [lambda reply: reply.call("stock_of", article="bolt"), last]
        assert ask(tools=["stock_of"]) == "There are 7."
        tool = server.requests[0]["tools"][0]["function"]
        assert tool["description"] == "How many of an article there are."
        assert list(tool["parameters"]["properties"]) == ["article"]
        assert '"key":"local/step/tool1"' in server.requests[1]["messages"][-1]["content"]

    def test_it_is_told_what_went_wrong_and_goes_on(self, server: ModelServer) -> None:
        server.answers = [
            lambda reply: reply.call("stock_of", item="bolt"),
            lambda reply: reply.call("stock_of", article="broken"),
            lambda reply: reply.say(reply.results()[-1]),
        ]
        assert "WarehouseClosed" in ask(tools=["stock_of"])
        assert "'article' is missing" in json.dumps(server.requests[1]["messages"])

    def test_one_that_goes_round_in_circles_is_stopped(self, server: ModelServer) -> None:
        server.answers = [lambda reply: reply.call("stock_of", article="bolt")]
        error = refused(tools=["stock_of"], maxRequests=3)
        assert (error.name, len(server.requests)) == ("ModelRequestsExceeded", 3)

    def test_one_that_is_not_there_is_said(self, server: ModelServer) -> None:
        error = refused(tools=["stock_of", "nobody"])
        assert error.name == "ToolNotFound" and "'nobody'" in error.message
        assert server.requests == []


class TestFailures:
    def test_a_server_that_asks_to_wait(self, server: ModelServer) -> None:
        server.answers = [lambda reply: reply.fail(429, "rate_limit", Retry_After="7")]
        error = refused()
        assert isinstance(error, RetryAfter) and error.seconds == 7
        assert (error.name, error.error_class) == ("ModelRateLimited", "transient")
        assert len(server.requests) == 1  # it is the step that is tried again

    @pytest.mark.parametrize(
        ("status", "code", "name", "error_class"),
        [
            (429, "rate_limit", "ModelRateLimited", "transient"),
            (429, "insufficient_quota", "ModelQuotaExceeded", "resource"),
            (400, "bad_request", "ModelRefused", "permanent"),
            (503, "overloaded", "ModelUnavailable", "transient"),
            (500, "server_error", "ModelUnavailable", "transient"),
        ],
    )
    def test_what_it_says_has_a_name_and_a_class(
        self, server: ModelServer, status: int, code: str, name: str, error_class: str
    ) -> None:
        server.answers = [lambda reply: reply.fail(status, code)]
        error = refused()
        assert (error.name, error.error_class) == (name, error_class)

    def test_a_model_that_there_is_not(self, server: ModelServer) -> None:
        error = refused(model="unknown")
        assert (error.name, error.error_class) == ("ModelNotFound", "permanent")

    def test_a_server_that_is_away(self, settings: Settings) -> None:
        given = {"llm_model": "small", "llm_base_url": "http://127.0.0.1:1/v1"}
        choosing.configure_models(settings.model_copy(update=given))
        error = refused()
        assert (error.name, error.error_class) == ("ModelUnavailable", "transient")
        choosing.configure_models(None)

    def test_a_wrong_key_is_not_told(self, server: ModelServer, settings: Settings) -> None:
        wrong = {
            "llm_model": "small",
            "llm_base_url": server.url,
            "llm_api_key": SecretStr("abc-1"),
        }
        choosing.configure_models(settings.model_copy(update=wrong))
        error = refused()
        assert (error.name, error.error_class) == ("ModelKeyRejected", "permanent")
        assert "ORCH_LLM_API_KEY" in error.message

    @pytest.mark.parametrize(
        ("model", "said"),
        [
            (None, "no model is named"),
            ("openai:gpt-5-mini", "needs a key"),
            ("gpt-5-mini", "needs a key"),
            ("anthropic:claude", "needs a key"),
            ("nobody:model", "cannot be used"),
        ],
    )
    def test_a_model_that_is_not_configured(
        self,
        settings: Settings,
        monkeypatch: pytest.MonkeyPatch,
        model: str | None,
        said: str,
    ) -> None:
        for name in choosing.PROVIDER_KEYS.values():
            monkeypatch.delenv(name, raising=False)
        choosing.configure_models(settings)
        error = refused(**({"model": model} if model else {}))
        assert error.name == "ModelNotConfigured" and said in error.message
        choosing.configure_models(None)

    @pytest.mark.parametrize("schema", [{"type": "objekt"}, {"type": "string"}, {}])
    def test_a_schema_that_is_none(self, server: ModelServer, schema: Any) -> None:
        error = refused(outputSchema=schema)
        assert (error.name, error.error_class) == ("InvalidInput", "permanent")
        assert server.requests == []


class TestStopping:
    def test_nobody_wants_the_answer_any_more(
        self, server: ModelServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(asking, "LOOK_EVERY", 0.05)
        server.answers = [lambda reply: reply.say(*["word "] * 1000, pause=0.02)]
        beats: list[Any] = []
        context = Context(is_cancelled=lambda: len(beats) > 2, on_heartbeat=beats.append)
        with pytest.raises(StepCancelled):
            ask(context)
        assert server.broken.wait(10)
        assert beats[-1]["characters"] > 0 and beats[-1]["text"].endswith("word ")

    def test_one_that_is_cancelled_at_any_moment_is_cancelled_and_nothing_else(
        self, server: ModelServer
    ) -> None:
        ask(Context())  # what is loaded at the first call takes time

        async def cancelled_after(turns: int) -> BaseException | str:
            task = asyncio.create_task(asking.ask(asking.Question("Say hello"), Context()))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            (found,) = await asyncio.gather(task, return_exceptions=True)
            return found

        for turns in range(30):
            found = asyncio.run(cancelled_after(turns))
            assert isinstance(found, asyncio.CancelledError | str), (turns, found)

    def test_a_deadline_ends_the_stream(self, server: ModelServer) -> None:
        ask(Context())  # what is loaded at the first call takes time
        server.answers = [lambda reply: reply.say(*["word "] * 1000, pause=0.02)]
        with pytest.raises(StepError) as caught:
            ask(Context(deadline=time.time() + 0.5))
        assert caught.value.name == "StepTimeout"
        assert server.broken.wait(10)


@pytest.fixture
def play(server: ModelServer, redis: Redis, redis_url: str) -> Iterator[Callable[..., Played]]:
    made: list[Runtime] = []

    def played(*steps: dict[str, Any], capability: str = "llm", **more: Any) -> Played:
        made.append(Runtime(choosing.model_settings(), redis_url))
        worker = Played(made[-1], *steps, **more)
        found = capabilities.get(capability)
        assert found is not None
        worker.call = call_capability(found)  # type: ignore[method-assign]
        worker.run()
        return worker

    yield played
    for each in made:
        each.close()


def step(step_id: str = "a", **more: Any) -> dict[str, Any]:
    return task(step_id, input={"prompt": "Say hello"}, **more)


class TestAsSteps:
    def test_tokens_cost_and_lines_are_in_the_journal(
        self, play: Callable[..., Played], server: ModelServer
    ) -> None:
        worker = play(step())
        assert worker.output() == "Hello Ada"
        used = usage_of(worker.journal, "x1").steps["a"]
        assert (used.input_tokens, used.output_tokens, used.calls) == (10, 5, 1)
        assert (used.cost, used.model) == (0.06, "small")
        [line] = read_logs(worker.journal, "x1")
        assert line.text == "answered by small: 15 tokens, cost 0.06, small"

    def test_a_budget_ends_it_between_its_requests(
        self, play: Callable[..., Played], server: ModelServer
    ) -> None:
        server.answers = [lambda reply: reply.call("stock_of", article="bolt")]
        tools = {"prompt": "Go on", "tools": ["stock_of"]}
        worker = play(task("a", input=tools, budget={"cost": 0.15}))
        error = worker.journal.record("x1").error or {}
        assert (error["name"], len(server.requests)) == ("BudgetExceeded", 3)
        assert usage_of(worker.journal, "x1").total.cost == 0.18

    def test_and_in_the_middle_of_an_answer(
        self, play: Callable[..., Played], server: ModelServer
    ) -> None:
        server.answers = [lambda reply: reply.say(*["four"] * 3000, pause=0.005)]
        worker = play(step(budget={"tokens": 100}))
        error = worker.journal.record("x1").error or {}
        assert error["name"] == "BudgetExceeded" and server.broken.wait(10)
        assert 100 < usage_of(worker.journal, "x1").total.tokens < 200
        assert server.requests[0].get("max_tokens") or server.requests[0]["max_completion_tokens"]

    def test_nothing_begins_where_nothing_is_left(
        self, play: Callable[..., Played], server: ModelServer
    ) -> None:
        worker = play(step("a", next="b"), step("b"), budget={"tokens": 15})
        assert worker.worked.status() is ExecutionStatus.FAILED
        assert len(server.requests) == 1


class TestAgents:
    def test_one_is_a_capability_of_its_name(
        self, play: Callable[..., Played], server: ModelServer, tmp_path: Path
    ) -> None:
        (tmp_path / "triage.yaml").write_text(
            "instructions: |\n  Tell what is urgent.\n  Be brief.\n"
            "tools: [stock_of]\noutputSchema: {type: object, properties: {urgent: {}}}\n"
        )
        given = {"llm_agents_dir": tmp_path, "llm_agents": {"b": LlmAgent(instructions="x")}}
        found = defined_agents(choosing.model_settings().model_copy(update=given))
        assert sorted(found) == ["b", "triage"]
        register("triage", found["triage"])
        server.answers = [lambda reply: reply.answer(urgent=["t1"])]
        worker = play(task("a", input={"data": [{"id": "t1"}]}), capability="triage")
        assert worker.output() == {"urgent": ["t1"]}
        request = server.requests[0]
        assert request["messages"][0]["content"].startswith("Tell what is urgent.")
        made = capabilities.get("triage")
        assert made is not None and made.description == "Tell what is urgent."
        with pytest.raises(StepError, match="takes a `prompt`, `data` or both"):
            made.call({}, Context())

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("[]", "it is no object"),
            ("tools: [a]", "instructions: Field required"),
            ("instructions: x\nmodle: y", "modle: Extra inputs"),
            ("instructions: [", "while parsing"),
        ],
    )
    def test_a_file_that_defines_none_is_said(
        self, settings: Settings, tmp_path: Path, content: str, said: str
    ) -> None:
        (tmp_path / "a.yaml").write_text(content)
        with pytest.raises(SettingsError, match="defines no agent") as caught:
            defined_agents(settings.model_copy(update={"llm_agents_dir": tmp_path}))
        assert said in caught.value.message

    def test_so_is_what_else_is_wrong(self, settings: Settings, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="there is no such directory"):
            defined_agents(settings.model_copy(update={"llm_agents_dir": tmp_path / "none"}))
        (tmp_path / "a.yaml").write_text("instructions: x")
        twice = {"llm_agents_dir": tmp_path, "llm_agents": {"a": LlmAgent(instructions="x")}}
        with pytest.raises(SettingsError, match="defined twice"):
            defined_agents(settings.model_copy(update=twice))
        with pytest.raises(SettingsError, match="agent 'a': `outputSchema` is no JSON Schema"):
            register("a", LlmAgent(instructions="x", output_schema={"type": 1}))


def test_many_are_asked_at_once(server: ModelServer) -> None:
    together = threading.Barrier(20, timeout=30)

    def answer(reply: Reply) -> None:
        together.wait()
        reply.say("ok")

    server.answers = [answer]
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(ask())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["ok"] * 20


@pytest.mark.slow
def test_a_worker_serves_both_and_waits_as_it_is_asked(
    server: ModelServer,
    redis: Redis,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "ORCH_LLM_MODEL": "small",
        "ORCH_LLM_BASE_URL": server.url,
        "ORCH_LLM_API_KEY": KEY,
        "ORCH_LLM_PRICES": '{"small": {"input": 1000, "output": 10000}}',
        "ORCH_LLM_AGENTS": '{"greeter": {"instructions": "Greet."}}',
    }.items():
        monkeypatch.setenv(name, value)
    server.answers = [
        lambda reply: reply.fail(429, "rate_limit", Retry_After="1"),
        lambda reply: reply.say("Hello"),
        lambda reply: reply.say("Good-bye"),
    ]
    second = {"id": "b", "capability": "greeter", "input": {"data": "$.variables.a"}}
    steps = [step(capability="llm", output={"a": "$.output"}, next="b"), second]
    with Orchestrator(redis_url=redis_url) as orchestrator:
        orchestrator.define_workflow("greet", {"name": "Greet", "steps": steps})
        with orchestrator.workers(pool="threads", concurrency=2):
            execution = orchestrator.start_workflow("greet")
            ended = execution.wait(timeout=60)
        assert (ended.status, ended.output) == ("completed", "Good-bye")
        first, again = execution.attempts("a")
        assert first.error == "ModelRateLimited" and again.started - first.ended >= 900
        assert [line.path for line in execution.logs()] == ["a", "b"]
        assert orchestrator.get_usage(execution.id).total.cost == 0.12


@pytest.mark.long
def test_the_example_prints_the_answer_alone(server: ModelServer, tmp_path: Path) -> None:
    told = {"ticket": "The shop is down", "why": "no sales"}
    server.answers = [lambda reply: reply.answer(urgent=[told])]
    environment = {
        **{name: value for name, value in os.environ.items() if name != "ORCH_REDIS_URL"},
        "ORCH_LLM_MODEL": "small",
        "ORCH_LLM_BASE_URL": server.url,
        "ORCH_LLM_API_KEY": KEY,
    }
    example = Path(__file__).parents[2] / "examples" / "triage.yaml"
    command = [sys.executable, "-m", "orch", "run", str(example), "-i", 'tickets=["The shop"]']
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert json.loads(done.stdout) == {"urgent": [told]}
    assert "used: 15 tokens, small" in done.stderr
    assert KEY not in done.stdout + done.stderr
