"""Our messages are those that Celery would have sent, and a chain goes on as it would there."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from celery import Celery
from celery.canvas import Signature, _chord
from celery.signals import before_task_publish
from redis import Redis

from orch.app import create_app, dispatch, lists_of
from orch.journal.connection import open_redis
from orch.journal.wire import Wire
from orch.lists import Lists
from orch.messages import Message, messages_of, next_message, send
from orch.settings import Settings
from orch.workflows.canvas import compile_canvas
from tests.build import parallel, plan_of, task

IDS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ALONE = plan_of(task("a"))
CHAIN = plan_of(task("a", "b"), task("b", "c"), task("c"))
WIDE = plan_of(parallel("p", [task("a", "b"), task("b")], [task("c")], [task("d")]))


@pytest.fixture
def app(redis: Redis, settings: Settings, redis_url: str) -> Iterator[Celery]:
    app = create_app(settings, redis_url)
    yield app
    app.close()
    redis.flushall()  # Celery's own way of publishing leaves bindings


def sent(redis: Redis, send: Callable[[], object]) -> list[str]:
    """The messages of one call, by the step they are for; ids numbered as they come."""
    redis.flushall()
    send()
    found = []
    for key in redis.scan_iter(_type="list"):
        for text in redis.lrange(key, 0, -1):
            message: dict[str, Any] = json.loads(text)
            message["body"] = json.loads(base64.b64decode(message["body"]))
            ids: dict[str, str] = {}
            text = json.dumps([message["headers"]["argsrepr"], key, message], sort_keys=True)
            found.append(IDS.sub(lambda m, ids=ids: ids.setdefault(m[0], f"#{len(ids)}"), text))
    return sorted(found)


def by_celery(app: Celery, canvas: Signature) -> None:
    bind(app, canvas)
    for member in canvas.tasks if isinstance(canvas, _chord) else [canvas]:
        member.apply_async(add_to_parent=False)


def bind(app: Celery, canvas: Any) -> None:
    canvas._app = app
    for part in [*(getattr(canvas, "tasks", None) or ()), getattr(canvas, "body", None)]:
        if part is not None:
            bind(app, part)


Way = Callable[[Iterable[Message]], None]


@pytest.fixture(params=["kombu", "lists"])
def way(request: pytest.FixtureRequest, app: Celery, settings: Settings) -> Iterator[Way]:
    """Both ways by which our messages go."""
    if request.param == "lists":
        client = open_redis(str(settings.redis_url))
        yield Lists(app, Wire(client), "orch:priorities", "orch:queues").push
        client.close()
        return

    def by_kombu(messages: Iterable[Message]) -> None:
        with app.producer_or_acquire() as producer:
            for message in messages:
                send(app, message, producer)

    yield by_kombu


@pytest.mark.parametrize(
    ("plan", "paths"),
    [(ALONE, ["a"]), (CHAIN, ["a"]), (WIDE, ["p/0/a", "p/1/c", "p/2/d"])],
    ids=["signature", "chain", "chord"],
)
@pytest.mark.parametrize("priority", [0, 7])
def test_the_messages_of_a_canvas_are_those_of_celery(
    app: Celery, redis: Redis, way: Way, plan: Any, paths: list[str], priority: int
) -> None:
    (canvas,) = compile_canvas(plan, "x", paths, priority=priority)
    ours = sent(redis, lambda: way(messages_of(app, canvas)))
    theirs = sent(redis, lambda: by_celery(app, canvas))
    assert ours == theirs
    assert len(ours) == len(paths)


@pytest.mark.parametrize("plan, path", [(CHAIN, "a"), (WIDE, "p/0/a")], ids=["chain", "branch"])
def test_the_next_link_of_a_chain_is_that_of_celery(
    app: Celery, redis: Redis, way: Way, plan: Any, path: str
) -> None:
    paths = [path] if path == "a" else ["p/0/a", "p/1/c", "p/2/d"]
    (canvas,) = compile_canvas(plan, "x", paths)
    way(messages_of(app, canvas))
    first = next(
        message
        for text in redis.lrange("work", 0, -1)
        if json.loads(base64.b64decode((message := json.loads(text))["body"]))[2]["chain"]
    )
    chain = json.loads(base64.b64decode(first["body"]))[2]["chain"]
    ids = {"parent_id": first["headers"]["id"], "root_id": first["headers"]["root_id"]}
    ours = sent(redis, lambda: way([next_message(chain, **ids)]))
    theirs = sent(
        redis,
        # As `celery.app.trace` does it after a task.
        lambda: Signature.from_dict(chain[-1], app=app).apply_async(
            (None,), chain=chain[:-1], priority=None, **ids
        ),
    )
    assert ours == theirs


def test_a_limit_in_time_is_told_as_celery_does(app: Celery, redis: Redis, way: Way) -> None:
    (canvas,) = compile_canvas(plan_of(task("a", timeout=1500)), "x", ["a"])
    ours = sent(redis, lambda: way(messages_of(app, canvas)))
    assert ours == sent(redis, lambda: by_celery(app, canvas))
    assert '"timelimit": [2.5, null]' in ours[0]


def test_what_is_pushed_is_byte_for_byte_what_kombu_writes(app: Celery, redis: Redis) -> None:
    (canvas,) = compile_canvas(CHAIN, "x", ["a"])
    messages = list(messages_of(app, canvas))
    tag = re.compile(r'"delivery_tag": "[^"]*"')
    Lists(app, Wire(redis), "orch:priorities", "orch:queues").push(messages)
    with app.producer_or_acquire() as producer:
        send(app, messages[0], producer)
    first, second = (tag.sub("", str(text)) for text in redis.lrange("work", 0, -1))
    assert first == second


def test_the_releases_whose_messages_are_known_are_those_that_run(
    app: Celery, redis: Redis
) -> None:
    """If this fails, look at what the new release writes, then name it in `KNOWN`."""
    assert Lists(app, Wire(redis), "orch:priorities", "orch:queues").serve()


def test_kombu_sends_where_somebody_may_change_a_message(app: Celery, redis: Redis) -> None:
    lists = Lists(app, Wire(redis), "orch:priorities", "orch:queues")
    (canvas,) = compile_canvas(CHAIN, "x", ["a"])

    def sign(headers: dict[str, Any], **_: Any) -> None:
        headers["signed"] = "yes"

    before_task_publish.connect(sign)
    try:
        dispatch(app, [canvas], lists=lists)
    finally:
        before_task_publish.disconnect(sign)
    assert json.loads(redis.lrange("work", 0, -1)[0])["headers"]["signed"] == "yes"
    assert lists.serve()


@pytest.mark.parametrize(
    "name, value", [("task_send_sent_event", True), ("task_compression", "gzip")]
)
def test_kombu_sends_where_a_message_looks_otherwise(
    app: Celery, redis: Redis, name: str, value: Any
) -> None:
    app.conf[name] = value
    assert not Lists(app, Wire(redis), "orch:priorities", "orch:queues").serve()


def test_only_a_broker_that_is_the_journals_redis_is_written_to(app: Celery, redis: Redis) -> None:
    url, wire = "redis://here:1/0", Wire(redis)
    assert lists_of(Settings(redis_url=url), url, app, wire) is not None
    assert lists_of(Settings(redis_url=url, broker_url=url), url, app, wire) is not None
    for broker in ("redis://here:1/1", "amqp://there", "sentinel://there:2"):
        assert lists_of(Settings(redis_url=url, broker_url=broker), url, app, wire) is None


def test_a_message_that_is_posted_is_there_and_its_answer_is_taken_later(
    app: Celery, redis: Redis, settings: Settings
) -> None:
    (canvas,) = compile_canvas(CHAIN, "x", ["a"])
    client = open_redis(str(settings.redis_url))
    wire = Wire(client)
    lists = Lists(app, wire, "orch:priorities", "orch:queues")
    assert wire.execute_command("PING") == "PONG"
    for message in messages_of(app, canvas):
        lists.post(message)
    assert wire.execute_command("LLEN", "work") == 1
    client.close()


def test_what_redis_does_not_take_is_said_and_left_to_the_watch(
    app: Celery, redis: Redis, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    (canvas,) = compile_canvas(ALONE, "x", ["a"])
    client = open_redis(str(settings.redis_url))
    wire = Wire(client)
    wire.execute_command("SET", "work", "no list", "EX", 60)
    Lists(app, wire, "orch:priorities", "orch:queues").post(next(messages_of(app, canvas)))
    assert wire.execute_command("PING") == "PONG"
    assert "was not taken" in caplog.text
    client.close()


def test_a_queue_holds_messages_of_any_priority(app: Celery, redis: Redis) -> None:
    lists = Lists(app, Wire(redis), "orch:priorities", "orch:queues")
    assert not lists.hold("work")
    for priority in (0, 1, 9):
        (canvas,) = compile_canvas(ALONE, "x", ["a"], priority=priority)
        lists.push(messages_of(app, canvas))
        assert lists.hold("work")
        redis.flushall()
