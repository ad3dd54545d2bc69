"""What the workers of these tests can do. Every run of a step leaves a line in a file.

A line in a file, not a key in Redis, since Redis is one of those that die here.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

from orch import Context, capability

DIRECTORY = Path(os.environ["CHAOS_DIRECTORY"])
LONGEST_HOLD = 90.0


def note(context: Context) -> None:
    line = {
        "execution": context.execution_id,
        "path": context.path,
        "attempt": context.attempt,
        "pid": os.getpid(),
        "at": time.time(),
    }
    file = os.open(DIRECTORY / "runs", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, json.dumps(line).encode() + b"\n")
    finally:
        os.close(file)


@capability("chaos_note")
def note_only(context: Context) -> int:
    note(context)
    return context.attempt


@capability("chaos_hold")
def hold(context: Context, attempts: int = 1) -> int:
    """Do not return from the first ``attempts`` attempts until the test says so."""
    note(context)
    if context.attempt <= attempts:
        name = f"{context.execution_id} {context.path.replace('/', '_')} {context.attempt}"
        limit = time.monotonic() + LONGEST_HOLD
        while not (DIRECTORY / name).exists() and time.monotonic() < limit:
            time.sleep(0.02)
    return context.attempt


@capability("chaos_hold_and_fail")
def hold_and_fail(context: Context) -> None:
    hold(context)
    raise Broken("after all")


@capability("chaos_die")
def die(context: Context) -> None:
    note(context)
    os.kill(os.getpid(), signal.SIGKILL)


@capability("chaos_work")
def work(context: Context, seconds: float = 0.03) -> int:
    note(context)
    time.sleep(seconds)
    return context.attempt


class Broken(Exception):
    pass


class Fatal(Exception):
    pass


@capability("chaos_flaky")
def flaky(context: Context) -> int:
    """The first attempt always fails, if it is not lost."""
    note(context)
    if context.attempt == 1:
        raise Broken("the first time")
    return 7


@capability("chaos_fail")
def fail(context: Context, fatal: bool = False) -> None:
    note(context)
    raise Fatal("always") if fatal else Broken("always")


@capability("chaos_next")
def one_more(context: Context, last: int | None = None) -> int:
    note(context)
    return (last or 0) + 1
