"""Runs one program and waits for it: bounded in time, in output and in what it leaves behind.

The program gets a session of its own, so that all of its children can be ended together. A
guard, a shell that waits on a pipe from this process, ends that session when this process dies
without a chance to do it, `kill -9` included. (Linux's PDEATHSIG would need code between fork
and exec, unsafe beside threads, and would spare the program's own children.)
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from orch.agents.context import Context
from orch.agents.permissions import permissions
from orch.errors import StepError

TICK = 0.1
"""Seconds between two looks at the clock, the context and the program."""
GRACE = 2.0
"""Seconds between the request to end (TERM) and the end (KILL)."""
DRAIN = 0.5
"""Seconds for which output is read after the program ended, while others hold its pipes."""
CHUNK = 65536

_GUARD = 'read -r group && { read -r end || kill -s KILL -- "-$group"; }'


@dataclass(frozen=True)
class Finished:
    """What is left of a program: output as bytes; a negative exit code is a signal."""

    exit_code: int
    stdout: bytes
    stderr: bytes


def run(
    arguments: Sequence[str],
    context: Context,
    *,
    cwd: str | None = None,
    environment: Mapping[str, str] | None = None,
    passed: Sequence[str] = (),
    stdin: bytes = b"",
    timeout: float | None = None,
    output_limit: int = 1 << 20,
) -> Finished:
    """Run a program to its end.

    environment   variables, added to those of this process that the settings pass to commands
    passed        names of more of these, for this program; `*` stands for any characters
    timeout       seconds; the context's deadline holds besides
    output_limit  bytes of stdout, and of stderr

    Raises StepError: `CommandTimeout`, `Cancelled`, `OutputTooLarge`; `CommandFailed` where it
    cannot be started; `InvalidInput` for arguments that no program can be given;
    `ShellForbidden`.
    """
    name = arguments[0]
    permitted = permissions()
    permitted.check_program(name)
    own = {**permitted.environment(os.environ, passed), **(environment or {})}
    with _guard() as guard, _started(arguments, cwd, own) as process:
        _tell(guard, f"{process.pid}\n")
        watch = _Watch(process, name, context, timeout, output_limit)
        try:
            return watch.until_end(stdin)
        except BaseException:
            end_group(process)
            raise
        finally:
            _tell(guard, "end\n")


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End the program and its children: TERM, a grace, KILL."""
    if process.returncode is None:
        _signal_group(process, signal.SIGTERM)
        give_up = time.monotonic() + GRACE
        while _group_lives(process) and time.monotonic() < give_up:
            time.sleep(0.01)
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _group_lives(process: subprocess.Popen[bytes]) -> bool:
    process.poll()  # a leader that nobody has asked for would count as alive
    return _signal_group(process, 0)


def _signal_group(process: subprocess.Popen[bytes], number: int) -> bool:
    """Whether there was a group to signal; its id is taken while any member of it lives."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so of a group of which only zombies are left
        return False
    return True


@contextlib.contextmanager
def _guard() -> Iterator[IO[bytes]]:
    """The pipe to a shell that ends a group when the pipe closes without a word."""
    guard = subprocess.Popen(
        ["/bin/sh", "-c", _GUARD],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert guard.stdin is not None
    try:
        yield guard.stdin
    finally:
        with contextlib.suppress(BrokenPipeError):
            guard.stdin.close()
        guard.wait()


def _tell(guard: IO[bytes], line: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        guard.write(line.encode())
        guard.flush()


@contextlib.contextmanager
def _started(
    arguments: Sequence[str], cwd: str | None, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    name = arguments[0]
    if cwd is not None and not os.path.isdir(cwd):
        raise StepError("CommandFailed", f"{name!r} cannot run in {cwd!r}: no such directory")
    try:
        process = subprocess.Popen(
            arguments,
            cwd=cwd,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
    except FileNotFoundError as exc:
        raise StepError(
            "CommandFailed",
            f"there is no program {name!r} on this worker",
            data={"exit_code": 127},
            hint="install it there, or give its whole path",
        ) from exc
    except OSError as exc:
        raise _not_started(name, exc) from exc
    except ValueError as exc:
        raise StepError("InvalidInput", f"{name!r} cannot be given its arguments: {exc}") from exc
    try:
        yield process
    finally:
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _not_started(name: str, exc: OSError) -> StepError:
    if exc.errno == errno.E2BIG:
        return StepError(
            "InvalidInput",
            f"{name!r} cannot be given its arguments: they are longer than the system allows "
            "(one value may have 128 KiB)",
            hint="pass large values through `input`, the standard input, or through a file",
        )
    sentence = f"{name!r} cannot be started: {exc.strerror}"
    return StepError("CommandFailed", sentence, data={"exit_code": 126})


class _Watch:
    """Feeds a program, reads what it says, and looks at the limits meanwhile."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        name: str,
        context: Context,
        timeout: float | None,
        output_limit: int,
    ) -> None:
        self.process = process
        self.name = name
        self.context = context
        self.timeout = timeout
        self.expires = None if timeout is None else time.monotonic() + timeout
        self.limit = output_limit
        self.output = {"stdout": bytearray(), "stderr": bytearray()}
        self.ended_at: float | None = None

    def until_end(self, stdin: bytes) -> Finished:
        with selectors.DefaultSelector() as selector:
            self._register(selector, stdin)
            while self._streams_open(selector) and not self._drained():
                for key, _ in selector.select(TICK):
                    if key.data == "stdin":
                        stdin = self._feed(selector, stdin)
                    else:
                        self._read(selector, key.fd, key.data)
                self._check_limits()
        while self.process.poll() is None:
            self._check_limits()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(TICK)
        out, err = self.output["stdout"], self.output["stderr"]
        return Finished(self.process.returncode, bytes(out), bytes(err))

    def _register(self, selector: selectors.BaseSelector, stdin: bytes) -> None:
        process = self.process
        assert process.stdin and process.stdout and process.stderr
        for stream, name in ((process.stdout, "stdout"), (process.stderr, "stderr")):
            os.set_blocking(stream.fileno(), False)
            selector.register(stream.fileno(), selectors.EVENT_READ, name)
        if stdin:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin.fileno(), selectors.EVENT_WRITE, "stdin")
        else:
            process.stdin.close()

    def _streams_open(self, selector: selectors.BaseSelector) -> bool:
        return any(key.data != "stdin" for key in selector.get_map().values())

    def _drained(self) -> bool:
        """Whether the program is gone, and its pipes were read for long enough since."""
        if self.process.poll() is None:
            return False
        if self.ended_at is None:
            self.ended_at = time.monotonic()
        return time.monotonic() - self.ended_at > DRAIN

    def _feed(self, selector: selectors.BaseSelector, stdin: bytes) -> bytes:
        assert self.process.stdin is not None
        fd = self.process.stdin.fileno()
        try:
            stdin = stdin[os.write(fd, stdin[:CHUNK]) :]
        except BlockingIOError:
            return stdin
        except BrokenPipeError:  # it does not want the rest
            stdin = b""
        if not stdin:
            selector.unregister(fd)
            self.process.stdin.close()
        return stdin

    def _read(self, selector: selectors.BaseSelector, fd: int, stream: str) -> None:
        try:
            chunk = os.read(fd, CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            selector.unregister(fd)
        self.output[stream] += chunk
        self.context.heartbeat({name: len(output) for name, output in self.output.items()})
        if len(self.output[stream]) > self.limit:
            raise StepError(
                "OutputTooLarge",
                f"{self.name!r} wrote more than {self.limit} bytes to {stream}, and was ended",
                hint="write large data to a file, or raise `output_limit`",
            )

    def _check_limits(self) -> None:
        if self.expires is not None and time.monotonic() >= self.expires:
            raise self._timeout(f"took longer than its `timeout` of {self.timeout} s")
        if self.context.remaining() == 0:
            raise self._timeout("was still running at the deadline of its attempt")
        if self.context.cancelled():
            raise StepError("Cancelled", f"{self.name!r} was ended: its step was cancelled")

    def _timeout(self, reason: str) -> StepError:
        tails = {name: tail(bytes(output)) for name, output in self.output.items()}
        return StepError("CommandTimeout", f"{self.name!r} {reason}, and was ended", data=tails)


def text(output: bytes) -> str:
    """Output as text; what is not UTF-8 shows as U+FFFD."""
    return output.decode(errors="replace")


def tail(output: bytes, size: int = 2000) -> str:
    """The last `size` bytes, from the start of a line where there is one."""
    if len(output) <= size:
        return text(output)
    kept = output[-size:]
    return text(kept.partition(b"\n")[2] or kept)
