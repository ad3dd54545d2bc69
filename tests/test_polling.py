"""The event loop of a worker, of which a message takes several turns."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from kombu.asynchronous.hub import Hub

from orch.broker import ADDED_EVERY, _Settled


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
