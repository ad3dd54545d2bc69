"""Services outside: what is registered of them, what is sent, and what becomes of the answer."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch import AsyncOrchestrator, Orchestrator
from orch.cli.app import run_command
from orch.errors import InputError, NotFound, RetryAfter, StepError
from orch.journal.journal import Journal
from orch.limits import RateLimit
from orch.services.registry import parse_service
from orch.services.request import make_request
from orch.settings import Settings
from tests.build import FakeClock
from tests.served import Served


def crm(url: str = "https://crm.example", **given: Any) -> dict[str, Any]:
    return {
        "name": "crm",
        "url": url,
        "retryInterval": 0.01,
        "operations": {
            "get": {"path": "/customers/{id}", "query": ["fields", "deep"]},
            "create": {
                "method": "POST",
                "path": "/customers",
                "body": ["name", "tags"],
                "required": ["name"],
                "expects": [201],
            },
            "put": {"method": "PUT", "path": "/blobs/{key}", "body": "content"},
        },
        **given,
    }


def failure(call: Callable[[], Any]) -> StepError:
    with pytest.raises(StepError) as raised:
        call()
    return raised.value


# --- what is sent ---------------------------------------------------------------------------------


def test_parameters_go_into_path_query_and_body() -> None:
    service = parse_service(crm("https://crm.example/v2/"))
    found = make_request(service, "get", {"id": "a/b é", "fields": ["x", "y&z"], "deep": True})
    assert found.url == (
        "https://crm.example/v2/customers/a%2Fb%20%C3%A9?fields=x&fields=y%26z&deep=true"
    )
    assert (found.method, found.body) == ("GET", None)
    made = make_request(service, "create", {"name": "Ada", "tags": None})
    assert json.loads(made.body or "") == {"name": "Ada", "tags": None}
    assert made.headers["Content-Type"] == "application/json"
    assert make_request(service, "put", {"key": 7, "content": [1, {"a": 2}]}).body == (
        '[1, {"a": 2}]'
    )


@pytest.mark.parametrize(
    ("operation", "given", "said"),
    [
        ("create", {"nam": "Ada"}, "there is no parameter 'nam'; 'name' is missing"),
        ("get", {}, "'id' is missing"),
        ("get", {"id": ".."}, "is '..', which is no part of a path"),
        ("get", {"id": ""}, "is '', which is no part of a path"),
        ("get", {"id": {"a": 1}}, "a URL takes a text"),
        ("get", [7], "parameters are an object"),
    ],
)
def test_wrong_parameters_are_named_before_anything_is_sent(
    operation: str, given: Any, said: str
) -> None:
    with pytest.raises(InputError, match=r"parameter|operation") as raised:
        make_request(parse_service(crm()), operation, given)
    assert said in raised.value.message


def test_an_operation_that_there_is_not_is_told_with_those_that_there_are() -> None:
    with pytest.raises(NotFound, match="it has: create, get, put") as raised:
        make_request(parse_service(crm()), "creat", {})
    assert raised.value.hint == "did you mean 'create'?"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": "ftp://crm.example"}, "url: a service takes a URL of http or https"),
        ({"url": "https://me:pw@crm.example"}, "url: a URL with a login would show it"),
        ({"url": "https://crm.example?x=1"}, "url: the URL of a service"),
        ({"url": "https://crm.example:99999"}, "url: Port out of range"),
        ({"auth": {"secret": "db.password"}}, "auth.secret: String should match"),
        ({"auth": {"kind": "basic", "secret": "service.crm"}}, "`user` goes with"),
        ({"headers": {"Authorization": "x"}}, "headers: the header Authorization is made"),
        ({"rateLimit": "often"}, "rateLimit: `rate_limit` of a limit is 'often'"),
        ({"breaker": {"failure_rate": 2}}, "breaker: `failure_rate` of a breaker is 2"),
        ({"operations": {}}, "operations: Dictionary should have at least 1"),
        (
            {"operations": {"a": {"path": "/{id}", "query": ["id"]}}},
            "the parameter 'id' has two places",
        ),
        ({"operations": {"a": {"path": "//x#y"}}}, "operations.a.path: String should match"),
        ({"operations": {"a": {"path": "/x", "required": ["y"]}}}, "`required` names 'y'"),
        ({"operations": {"a": {"path": "/x", "body": ["y"]}}}, "GET has no body"),
        ({"url": 7, "nonsense": 1}, "nonsense: Extra inputs are not permitted"),
    ],
)
def test_what_is_wrong_with_a_service_is_said(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match="a service cannot be registered") as raised:
        parse_service(crm() | given)
    assert said in raised.value.message


# --- calls ----------------------------------------------------------------------------------------


def test_a_service_is_registered_listed_called_replaced_and_removed(
    orchestrator: Orchestrator, served: Served
) -> None:
    assert orchestrator.register_external_service(crm(served.url)) == "crm"
    with pytest.raises(InputError, match="there is a service 'crm'"):
        orchestrator.register_external_service(crm(served.url))
    assert [each.name for each in orchestrator.list_external_services()] == ["crm"]
    assert orchestrator.call_external_service("crm", "get", {"id": 7}) == {"ok": True}
    assert served.seen[0][:2] == ("GET", "/customers/7")
    changed = crm(served.url, timeout=1)
    assert orchestrator.register_external_service(changed, replace=True) == "crm"
    assert orchestrator.get_external_service("crm").timeout == 1
    assert orchestrator.remove_external_service("crm")
    assert not orchestrator.remove_external_service("crm")
    with pytest.raises(NotFound, match="there is no service 'crm'; there are: none"):
        orchestrator.call_external_service("crm", "get", {"id": 7})


def test_coroutines_call_services_too(redis: Redis, settings: Settings, served: Served) -> None:
    async def use() -> None:
        async with AsyncOrchestrator(settings) as made:
            await made.register_external_service(crm(served.url))
            assert await made.call_external_service("crm", "get", {"id": 1}) == {"ok": True}
            assert (await made.get_external_service("crm")).name == "crm"
            assert len(await made.list_external_services()) == 1
            assert await made.remove_external_service("crm")

    asyncio.run(use())


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({"secret": "service.crm"}, "authorization", "Bearer s3cret-value"),
        (
            {"kind": "basic", "user": "me", "secret": "service.crm"},
            "authorization",
            "Basic " + base64.b64encode(b"me:s3cret-value").decode(),
        ),
        (
            {"kind": "header", "header": "X-Api-Key", "secret": "service.crm"},
            "x-api-key",
            "s3cret-value",
        ),
    ],
)
def test_a_secret_is_read_where_it_is_called_and_stands_nowhere_else(
    orchestrator: Orchestrator,
    served: Served,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
    auth: dict[str, Any],
    header: str,
    value: str,
) -> None:
    orchestrator.register_external_service(crm(served.url, auth=auth))
    error = failure(lambda: orchestrator.call_external_service("crm", "get", {"id": 7}))
    assert (error.name, served.seen) == ("SecretNotFound", [])
    monkeypatch.setenv("ORCH_SECRET_SERVICE_CRM", "s3cret-value")
    orchestrator.call_external_service("crm", "get", {"id": 7})
    assert served.seen[0][2][header] == value
    assert "s3cret" not in str(redis.hgetall(orchestrator.runtime.journal.keys.services()))
    monkeypatch.setenv("ORCH_SECRET_SERVICE_CRM", "two\nlines")
    if auth.get("kind") != "basic":
        error = failure(lambda: orchestrator.call_external_service("crm", "get", {"id": 7}))
        assert error.name == "SecretNotFound"
        assert "two" not in error.message


def test_a_call_is_repeated_where_that_does_no_harm(
    orchestrator: Orchestrator, served: Served
) -> None:
    orchestrator.register_external_service(crm(served.url))
    busy, fine = (503, {}, b"busy"), (201, {}, b'{"id": 1}')
    served.answers = {"/customers/7": [busy, busy, fine], "/customers": [busy, fine]}
    assert failure(lambda: orchestrator.call_external_service("crm", "create", {"name": "A"}))
    assert served.paths == ["/customers"]
    assert orchestrator.call_external_service("crm", "create", {"name": "A"}) == {"id": 1}
    served.seen.clear()
    assert orchestrator.call_external_service("crm", "get", {"id": 7}) == {"id": 1}
    keys = {headers["idempotency-key"] for _, _, headers, _ in served.seen}
    assert (len(served.seen), len(keys)) == (3, 1)


def test_what_a_service_refuses_is_told_with_its_answer(
    orchestrator: Orchestrator, served: Served
) -> None:
    orchestrator.register_external_service(crm(served.url, responseLimit=100))
    served.answers = {
        "/customers/1": (404, {}, b"no such customer"),
        "/customers/2": (302, {"Location": "http://169.254.169.254/"}, b""),
        "/customers/3": (200, {}, b"x" * 101),
        "/customers/4": (200, {}, b"plain text"),
        "/customers/5": (204, {}, b""),
        "/customers/6": (200, {"Content-Length": "50"}, b"{}"),
    }

    def get(id: int) -> Any:
        return orchestrator.call_external_service("crm", "get", {"id": id})

    error = failure(lambda: get(1))
    assert (error.name, error.data, error.error_class) == (
        "ServiceRefused",
        {"status": 404},
        "permanent",
    )
    assert "no such customer" in error.message
    assert "redirects are not followed" in failure(lambda: get(2)).message
    assert failure(lambda: get(3)).name == "ServiceAnswerTooLarge"
    assert (get(4), get(5)) == ("plain text", None)
    assert failure(lambda: get(6)).name == "ServiceUnavailable"


def test_a_service_that_is_not_there_is_tried_and_then_unavailable(
    orchestrator: Orchestrator, served: Served
) -> None:
    served.server.server_close()
    orchestrator.register_external_service(crm(served.url, retries=1))
    error = failure(lambda: orchestrator.call_external_service("crm", "get", {"id": 7}))
    assert (error.name, error.error_class) == ("ServiceUnavailable", "transient")
    assert "ConnectionRefusedError" in error.message


def test_a_breaker_stops_the_calls_of_all_who_call(
    orchestrator: Orchestrator, served: Served, settings: Settings
) -> None:
    breaker = {"minimum": 2, "window": 60, "open_for": 60}
    orchestrator.register_external_service(crm(served.url, retries=0, breaker=breaker))
    served.answers = {"/customers/7": (500, {}, b"")}
    for _ in range(2):
        assert failure(lambda: orchestrator.call_external_service("crm", "get", {"id": 7}))
    with Orchestrator(settings) as another:
        error = failure(lambda: another.call_external_service("crm", "get", {"id": 7}))
        assert (error.name, len(served.seen)) == ("BreakerOpen", 2)
        assert another.close_breaker("service.crm")
        assert another.call_external_service("crm", "get", {"id": 8}) == {"ok": True}
    assert [each.capability for each in orchestrator.list_breakers()] == ["service.crm"]
    orchestrator.remove_external_service("crm")
    assert orchestrator.list_breakers() == []


def test_a_rate_spreads_calls_and_sends_away_those_that_would_wait_too_long(
    orchestrator: Orchestrator, served: Served
) -> None:
    orchestrator.register_external_service(crm(served.url, rateLimit="10/s", timeout=0.25))
    begun = time.monotonic()
    for id in range(3):
        orchestrator.call_external_service("crm", "get", {"id": id})
    assert time.monotonic() - begun >= 0.19
    orchestrator.register_external_service(crm(served.url, rateLimit="1/h"), replace=True)
    orchestrator.call_external_service("crm", "get", {"id": 8})
    with pytest.raises(RetryAfter, match=r"1/h, and its next call is 3\d{3}") as raised:
        orchestrator.call_external_service("crm", "get", {"id": 9})
    assert raised.value.seconds > 3500


def test_slots_are_a_pause_apart_behind_a_burst(journal: Journal, clock: FakeClock) -> None:
    rate = RateLimit.parse("10/s burst 3")
    taken = [journal.take_slot("crm", rate, 250) for _ in range(6)]
    assert taken == [(True, 0), (True, 0), (True, 0), (True, 100), (True, 200), (False, 300)]
    clock.advance(1000)
    assert [journal.take_slot("crm", rate, 0) for _ in range(4)][2:] == [(True, 0), (False, 100)]


# --- in a workflow, and on the command line -------------------------------------------------------


def test_a_step_calls_a_service_with_the_key_of_the_step(
    orchestrator: Orchestrator, served: Served
) -> None:
    orchestrator.register_external_service(crm(served.url))
    served.answers = {"/customers": (201, {}, b'{"id": 42}')}
    step = {"id": "make", "capability": "service_call", "next": "lost"}
    step |= {"input": {"service": "crm", "operation": "create", "params": {"name": "$.input.n"}}}
    lost = {"id": "lost", "capability": "service_call"}
    lost |= {"input": {"service": "erp", "operation": "x"}}
    orchestrator.define_workflow("w", {"name": "W", "steps": [step, lost]})
    with orchestrator.workers(pool="solo", queues=["service_call"]):
        execution = orchestrator.start_workflow("w", {"n": "Ada"})
        ended = execution.wait(timeout=60)
    assert ended.error is not None
    assert ended.error["name"] == "ServiceNotFound"
    (seen,) = served.seen
    assert seen[3] == {"name": "Ada"}
    assert seen[2]["idempotency-key"] == f"{execution.id}/make/crm.create"
    output = orchestrator.runtime.journal.read_output(execution.id, "make")
    assert output == {"status": 201, "body": {"id": 42}}


def test_the_command_line_adds_lists_shows_calls_and_removes(
    orchestrator: Orchestrator,
    served: Served,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def run(*arguments: str, code: int = 0) -> str:
        url = str(orchestrator.settings.redis_url)
        assert run_command(["service", *arguments, "--redis", url]) == code
        return capfd.readouterr().out

    file = tmp_path / "crm.json"
    file.write_text(json.dumps(crm(served.url)))
    assert run("add", str(file)) == "service crm is registered\n"
    assert run("add", str(file), code=2) == ""
    assert json.loads(run("add", str(file), "--replace", "--json")) == {"service": "crm"}
    assert "create, get, put" in run("list")
    assert "name, [tags]" in run("show", "crm")
    assert json.loads(run("show", "crm", "--json"))["url"] == served.url
    assert json.loads(run("call", "crm", "get", "--input", "id=7")) == {"ok": True}
    assert served.paths == ["/customers/7"]
    assert run("call", "crm", "get", code=2) == ""
    assert run("remove", "crm") == "removed: crm\n"
    assert run("list", "--json") == "[]\n"
    file.write_text("{")
    assert run("add", str(file), code=2) == ""
