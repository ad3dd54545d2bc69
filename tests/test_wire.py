"""Commands on a connection that is kept at hand."""

from __future__ import annotations

import multiprocessing
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from orch import Orchestrator
from orch.embedded import ephemeral
from orch.journal.busy_poll import MISSES, NEAR, RESTS, BusyPoll
from orch.journal.connection import open_redis
from orch.journal.wire import MOST_OWED, Wire
from orch.settings import Settings


@pytest.fixture
def wire(redis: Redis) -> Wire:
    return Wire(redis)


def connections(redis: Redis) -> int:
    return len(redis.client_list())


def test_texts_go_there_and_back(wire: Wire) -> None:
    text = "gr\u00fc\u00df \udc80"
    assert wire.execute_command("SET", "t", text.encode(errors="surrogateescape"))
    assert wire.execute_command("GET", "t") == text
    assert wire.execute_command("DEL", "t") == 1


def test_one_connection_serves_one_caller(redis: Redis, wire: Wire) -> None:
    wire.execute_command("PING")
    before = connections(redis)
    for _ in range(20):
        wire.execute_command("PING")
    assert connections(redis) == before


def test_an_error_of_redis_is_raised_and_the_connection_goes_on(redis: Redis, wire: Wire) -> None:
    wire.execute_command("PING")
    before = connections(redis)
    with pytest.raises(ResponseError):
        wire.execute_command("NONSENSE")
    assert wire.execute_command("PING") == "PONG"
    assert connections(redis) == before


def test_a_connection_that_was_closed_meanwhile_is_replaced(redis: Redis, wire: Wire) -> None:
    wire.execute_command("PING")
    own = wire.execute_command("CLIENT", "ID")
    redis.client_kill_filter(_id=str(own))
    assert wire.execute_command("PING") == "PONG"
    assert wire.execute_command("CLIENT", "ID") != own


def test_a_redis_that_is_away_is_an_error_and_is_found_again() -> None:
    with ephemeral() as server:
        client = open_redis(server.url)
        wire = Wire(client)
        wire.execute_command("PING")
    with pytest.raises(RedisConnectionError):
        wire.execute_command("PING")
    with pytest.raises(RedisConnectionError):
        wire.post("PING")
    client.close()


def test_answers_that_are_owed_belong_to_nobody_else(wire: Wire) -> None:
    wire.execute_command("PING")
    for number in range(3 * MOST_OWED):
        wire.post("RPUSH", "t", number)
    assert wire.execute_command("LLEN", "t") == 3 * MOST_OWED
    assert wire.execute_command("DEL", "t") == 1


def test_what_is_owed_by_a_closed_connection_is_not_waited_for(redis: Redis, wire: Wire) -> None:
    wire.execute_command("PING")
    own = wire.execute_command("CLIENT", "ID")
    wire.post("PING")
    redis.client_kill_filter(_id=str(own))
    assert wire.execute_command("ECHO", "mine") == "mine"


def test_a_connection_on_which_reading_is_broken_off_is_not_used_again(wire: Wire) -> None:
    """As when a signal ends a step while it waits for Redis."""

    class Ended(BaseException):
        pass

    wire.execute_command("PING")
    line = wire._free[-1].connection
    read = line.read_response

    def broken() -> None:
        raise Ended

    line.read_response = broken
    with pytest.raises(Ended):
        wire.execute_command("ECHO", "first")
    line.read_response = read
    assert wire.execute_command("ECHO", "second") == "second"


def test_threads_do_not_get_the_answers_of_each_other(wire: Wire) -> None:
    wrong = []

    def ask(name: str) -> None:
        for number in range(200):
            said = f"{name} {number}"
            if wire.execute_command("ECHO", said) != said:
                wrong.append(said)
            wire.post("ECHO", said)

    threads = [threading.Thread(target=ask, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.fixture
def forked(wire: Wire) -> Iterator[str]:
    wire.execute_command("PING")
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe()

    def child() -> None:
        theirs.send(wire.execute_command("CLIENT", "ID"))

    process = context.Process(target=child)
    process.start()
    yield str(mine.recv())
    process.join()


def test_a_forked_process_has_a_connection_of_its_own(wire: Wire, forked: str) -> None:
    assert str(wire.execute_command("CLIENT", "ID")) != forked


def test_what_has_come_is_seen_and_nothing_is_waited_for_no_longer_than_a_moment() -> None:
    poll = BusyPoll(0.0001)
    near, far = socket.socketpair()
    with near, far:
        assert not poll.look(near)
        far.send(b"+")
        assert poll.look(near)


def test_a_server_that_is_far_away_is_not_looked_for() -> None:
    poll = BusyPoll(0.0001)
    near, far = socket.socketpair()
    with near, far:
        assert not any(poll.look(near) for _ in range(MISSES))
        far.send(b"+")
        assert not any(poll.look(near) for _ in range(RESTS))
        assert poll.look(near), "it may have come nearer"


def test_nor_is_one_whose_answers_come_late_though_they_come() -> None:
    poll = BusyPoll(60.0)
    near, far = socket.socketpair()
    with near, far:
        for _ in range(MISSES):
            late = threading.Timer(10 * NEAR, far.send, (b"+",))
            late.start()
            assert poll.look(near)
            assert near.recv(1) == b"+"
            late.join()
        far.send(b"+")
        assert not any(poll.look(near) for _ in range(RESTS))
        assert poll.look(near)


def test_answers_are_the_same_whether_or_not_they_are_looked_for(redis: Redis, wire: Wire) -> None:
    wire.busy_poll = 0.001
    assert wire.execute_first(("SET", "t", "1"), ("INCR", "t"))
    assert wire.execute_command("GET", "t") == "2"
    with pytest.raises(ResponseError):
        wire.execute_command("LPUSH", "t", "1")
    assert wire.read_all(("GET", "t"), ("EXISTS", "t")) == ["2", 1]
    redis.client_kill_filter(_type="normal", skipme=True)
    assert wire.execute_command("DEL", "t") == 1


LOOKS = """
import gc

from orch import capability
from orch.journal.wire import Wire

@capability("looks")
def looks() -> float:
    return max(each.busy_poll for each in gc.get_objects() if isinstance(each, Wire))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("pool", "seconds"), [("prefork", 0.0005), ("threads", 0.0)])
def test_only_the_processes_of_a_pool_look(
    redis: Redis, settings: Settings, tmp_path: Path, pool: str, seconds: float
) -> None:
    code = tmp_path / "looking.py"
    code.write_text(LOOKS)
    given = settings.model_copy(update={"busy_poll": 0.0005})
    with Orchestrator(given) as orchestrator:
        orchestrator.define_workflow(
            "w", {"name": "w", "steps": [{"id": "a", "capability": "looks"}]}
        )
        with orchestrator.workers(pool=pool, include=[str(code)]):
            assert orchestrator.start_workflow("w").wait(timeout=30).output == seconds
    redis.flushall()  # the worker's queues
