"""The main process of a worker: its event loop, and how it reads a message."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Connection
from kombu.asynchronous.hub import Hub
from kombu.exceptions import ContentDisallowed
from kombu.utils.eventio import WRITE

from orch.broker import ADDED_EVERY, Message, _Settled
from orch.tasks.consumer import REMOVED_EVERY, remove_writers_once


class Counted(Hub):
    added = 0

    def add_reader(self, *args: object) -> object:
        self.added += 1
        return super().add_reader(*args)


@pytest.fixture
def hub() -> Iterator[Counted]:
    hub = Counted()
    yield hub
    hub.close()


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    yield one, other
    one.close()
    other.close()


Ends = tuple[socket.socket, socket.socket]


def test_a_reader_that_is_there_is_not_added_again(hub: Counted, ends: Ends) -> None:
    heard: list[int] = []
    loop = _Settled(hub)
    for _ in range(5):
        loop.add_reader(ends[0].fileno(), heard.append, 1)
    assert hub.added == 1
    ends[1].send(b"x")
    hub.run_once()
    assert heard == [1]


def test_one_that_was_removed_is_added(hub: Counted, ends: Ends) -> None:
    loop = _Settled(hub)
    loop.add_reader(ends[0].fileno(), print, 1)
    hub.remove_reader(ends[0].fileno())
    loop.add_reader(ends[0].fileno(), print, 1)
    assert hub.added == 2
    assert ends[0].fileno() in hub.readers


def test_one_that_got_lost_is_found_again(
    hub: Counted, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("orch.broker.time.monotonic", lambda: now[0])
    heard: list[int] = []
    loop = _Settled(hub)
    loop.add_reader(ends[0].fileno(), heard.append, 1)
    hub.poller.unregister(ends[0].fileno())
    now[0] += ADDED_EVERY
    loop.add_reader(ends[0].fileno(), heard.append, 1)
    ends[1].send(b"x")
    hub.run_once()
    assert heard == [1]


class Removing(Hub):
    removed = 0

    def remove_writer(self, fd: object) -> None:
        self.removed += 1
        super().remove_writer(fd)


@pytest.fixture
def removing() -> Iterator[Removing]:
    hub = Removing()
    remove_writers_once(hub)
    yield hub
    hub.close()


def test_a_writer_that_is_not_there_is_removed_once_a_second(
    removing: Removing, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("orch.tasks.consumer.time.monotonic", lambda: now[0])
    for _ in range(5):
        removing.remove_writer(ends[0].fileno())
    assert removing.removed == 1
    now[0] += REMOVED_EVERY
    removing.remove_writer(ends[0].fileno())
    assert removing.removed == 2


@pytest.mark.parametrize("consolidate", [False, True])
def test_one_that_is_there_is_removed_each_time(
    removing: Removing, ends: Ends, consolidate: bool
) -> None:
    written: list[int] = []
    for _ in range(3):
        removing.add(ends[0].fileno(), written.append, WRITE, (1,), consolidate=consolidate)
        removing.remove_writer(ends[0].fileno())
        assert ends[0].fileno() not in removing.writers
    assert removing.removed == 3


def test_a_reader_of_the_same_connection_stays(removing: Removing, ends: Ends) -> None:
    heard: list[int] = []
    removing.add_reader(ends[0].fileno(), heard.append, 1)
    removing.add_writer(ends[0].fileno(), print)
    removing.remove_writer(ends[0].fileno())
    removing.remove_writer(ends[0].fileno())
    ends[1].send(b"x")
    removing.run_once()
    assert heard == [1]


def message(task: str, body: object, **more: Any) -> Message:
    found = Message(
        {
            "body": json.dumps(body),
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {"task": task},
            "properties": {"delivery_tag": "t", "delivery_info": {}},
            **more,
        },
        channel=Connection("memory://").channel(),
    )
    found.accept = {"application/json"}
    return found


TYPED = [{"__type__": "bytes", "__value__": "eHg=\n"}]


def test_the_message_of_a_step_holds_plain_json() -> None:
    body = [["x", "a", "plan"], {}, {"chain": [{"task": "orch.b"}]}]
    assert message("orch.work", body).payload == body
    assert message("orch.work", TYPED).payload == TYPED


def test_that_of_another_task_is_read_by_kombu() -> None:
    assert message("other", TYPED).payload != TYPED


def test_what_is_not_accepted_is_refused() -> None:
    found = message("orch.work", [])
    found.accept = {"application/x-yaml"}
    with pytest.raises(ContentDisallowed):
        found.decode()
