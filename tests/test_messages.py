"""Our messages are those that Celery would have sent, and a chain goes on as it would there."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery, group
from celery.canvas import Signature, _chord
from redis import Redis

from orch.app import create_app
from orch.messages import send_canvas, send_link
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
    if isinstance(canvas, _chord):
        # `chord.apply_async` leaves the group's options out; these are its own steps.
        canvas.body.freeze()
        header = group(canvas.tasks, app=app)
        header.apply_async(chord=canvas.body, add_to_parent=False)
    else:
        canvas.apply_async(add_to_parent=False)


def bind(app: Celery, canvas: Any) -> None:
    canvas._app = app
    for part in [*(getattr(canvas, "tasks", None) or ()), getattr(canvas, "body", None)]:
        if part is not None:
            bind(app, part)


@pytest.mark.parametrize(
    ("plan", "paths"),
    [(ALONE, ["a"]), (CHAIN, ["a"]), (WIDE, ["p/0/a", "p/1/c", "p/2/d"])],
    ids=["signature", "chain", "chord"],
)
def test_the_messages_of_a_canvas_are_those_of_celery(
    app: Celery, redis: Redis, plan: Any, paths: list[str]
) -> None:
    (canvas,) = compile_canvas(plan, "x", paths)
    with app.producer_or_acquire() as producer:
        ours = sent(redis, lambda: send_canvas(app, canvas, producer))
    theirs = sent(redis, lambda: by_celery(app, canvas))
    assert ours == theirs
    assert len(ours) == len(paths)


@pytest.mark.parametrize("plan, path", [(CHAIN, "a"), (WIDE, "p/0/a")], ids=["chain", "branch"])
def test_the_next_link_of_a_chain_is_that_of_celery(
    app: Celery, redis: Redis, plan: Any, path: str
) -> None:
    paths = [path] if path == "a" else ["p/0/a", "p/1/c", "p/2/d"]
    (canvas,) = compile_canvas(plan, "x", paths)
    with app.producer_or_acquire() as producer:
        send_canvas(app, canvas, producer)
        first = next(
            message
            for text in redis.lrange("work", 0, -1)
            if json.loads(base64.b64decode((message := json.loads(text))["body"]))[2]["chain"]
        )
        chain = json.loads(base64.b64decode(first["body"]))[2]["chain"]
        ids = {"parent_id": first["headers"]["id"], "root_id": first["headers"]["root_id"]}
        ours = sent(redis, lambda: send_link(app, chain, producer, **ids))
    theirs = sent(
        redis,
        # As `celery.app.trace` does it after a task.
        lambda: Signature.from_dict(chain[-1], app=app).apply_async(
            (None,), chain=chain[:-1], priority=None, **ids
        ),
    )
    assert ours == theirs
