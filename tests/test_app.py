"""Canvases on the real broker: which queues, how many messages, and what is left behind."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import kombu
import pytest
from celery import Celery
from kombu import Connection, Producer
from redis import Redis

from orch.app import create_app, dispatch, keep_worker_through_redis_restart, queue_depth
from orch.errors import Unreachable
from orch.settings import Settings
from orch.workflows.canvas import compile_canvas
from tests.build import parallel, plan_of, task

WIDE = plan_of(
    parallel(
        "p",
        [task("a", "b", queue="one"), task("b", "c"), task("c")],
        [task("d", queue="two")],
        [task("e", queue="two")],
    )
)
ENTRIES = ["p/0/a", "p/1/d", "p/2/e"]
START_ONE = """
import sys
from orch import Orchestrator
from orch.settings import Settings
orchestrator = Orchestrator(Settings(redis_url=sys.argv[1]))
steps = [{"id": "p", "type": "parallel", "parallel": {"branches": [
    {"steps": [{"id": "a", "capability": "nobody"}]},
    {"steps": [{"id": "b", "capability": "nobody"}]},
]}}]
orchestrator.define_workflow("w", {"name": "w", "steps": steps})
print(orchestrator.start_workflow("w").id)
"""


@pytest.fixture
def app(redis: Redis, settings: Settings, redis_url: str) -> Iterator[Celery]:
    app = create_app(settings, redis_url)
    yield app
    app.close()


def messages(redis: Redis, queue: str) -> list[dict[str, Any]]:
    return [json.loads(text) for text in redis.lrange(queue, 0, -1)]


def body(message: dict[str, Any]) -> Any:
    return json.loads(base64.b64decode(message["body"]))


def test_each_message_lies_in_the_queue_of_its_step(app: Celery, redis: Redis) -> None:
    dispatch(app, compile_canvas(WIDE, "x", ENTRIES))
    assert (redis.llen("one"), redis.llen("two"), redis.llen("work")) == (1, 2, 0)
    with app.connection_for_write() as connection:
        assert queue_depth(app, "two", connection) == 2
        assert queue_depth(app, "never", connection) == 0


def test_a_message_carries_ids_and_what_is_left_of_its_chain(app: Celery, redis: Redis) -> None:
    dispatch(app, compile_canvas(WIDE, "x", ["p/0/a"]))
    (message,) = messages(redis, "one")
    assert message["headers"]["task"] == "orch.work"
    assert message["headers"]["argsrepr"] == "w/p/0/a (exec x)"
    args, kwargs, embedded = body(message)
    assert args == ["x", "p/0/a", WIDE.key] and kwargs == {}
    assert [link["args"][1] for link in embedded["chain"]] == ["p/0/c", "p/0/b"]


def test_nothing_to_do_reaches_for_no_broker(settings: Settings) -> None:
    dispatch(create_app(settings, "redis://127.0.0.1:1/0"), [])


def test_a_chord_is_counted_in_the_journal_alone(app: Celery, redis: Redis) -> None:
    (canvas,) = compile_canvas(WIDE, "x", ENTRIES)
    assert canvas.name == "celery.chord"
    dispatch(app, [canvas])
    assert [key for key in redis.scan_iter() if redis.type(key) != "list"] == []
    last = body(messages(redis, "one")[0])[2]["chain"][0]
    assert "chord" not in last["options"] and "group_id" not in last["options"]


def test_all_messages_of_one_dispatch_are_one_batch(
    app: Celery, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []
    batch = Producer.batch

    def counted(self: Producer, *args: Any, **kwargs: Any) -> Any:
        batches.append(1)
        return batch(self, *args, **kwargs)

    monkeypatch.setattr(Producer, "batch", counted)
    dispatch(app, compile_canvas(WIDE, "x", ENTRIES))
    assert batches == [1]


def test_who_submits_subscribes_to_nothing(app: Celery, redis: Redis) -> None:
    for _ in range(5):
        dispatch(app, compile_canvas(WIDE, "x", ENTRIES))
    assert redis.pubsub_channels() == []
    assert [c for c in redis.client_list() if c["sub"] != "0" or c["psub"] != "0"] == []


def test_a_script_that_starts_an_execution_says_nothing_at_its_end(
    redis: Redis, redis_url: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", START_ONE, redis_url],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.strip()) == 16
    assert redis.llen("nobody") == 2


@pytest.mark.parametrize("entries", [["p/0/a"], ENTRIES])
def test_a_broker_that_is_away_is_unreachable_soon(settings: Settings, entries: list[str]) -> None:
    app = create_app(settings, "redis://:secret@127.0.0.1:1/0")
    begun = time.monotonic()
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1") as caught:
        dispatch(app, compile_canvas(WIDE, "x", entries))
    assert "secret" not in str(caught.value)
    assert time.monotonic() - begun < 10
    app.close()


def test_a_channel_without_a_connection_is_closed_without_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Gone:
        def close(self) -> None:
            raise AttributeError("'NoneType' object has no attribute 'disconnect'")

    keep_worker_through_redis_restart()
    Connection("memory://").maybe_close_channel(Gone())


def test_the_patch_leaves_other_versions_of_kombu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kombu, "__version__", "5.8.0")
    monkeypatch.setattr(Connection, "maybe_close_channel", "untouched")
    keep_worker_through_redis_restart()
    assert Connection.maybe_close_channel == "untouched"


def test_acknowledgements_are_off_unless_asked_for(settings: Settings, redis_url: str) -> None:
    without = create_app(settings, redis_url).conf.broker_transport_options
    assert without["ack_emulation"] is False and "visibility_timeout" not in without
    acks = settings.model_copy(update={"broker_acks": True})
    assert create_app(acks, redis_url).conf.broker_transport_options["visibility_timeout"] == 60
    elsewhere = settings.model_copy(update={"broker_url": "amqp://127.0.0.1:1//"})
    assert "ack_emulation" not in create_app(elsewhere, redis_url).conf.broker_transport_options
