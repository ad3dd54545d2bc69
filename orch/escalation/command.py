"""A notice is handed to a program."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress

from orch.errors import HookFailed
from orch.escalation.notice import Notice
from orch.hooks import CommandHook
from orch.redaction import Redactor, has_password, tells_secret

SHOWN = 500
"""Bytes of what the program complained of at last that a message shows."""


def run(hook: CommandHook, notice: Notice) -> None:
    """It must end with 0 in time; else it is killed, with all that it started in its group.

    Raises HookFailed.
    """
    with tempfile.TemporaryFile() as complaints:
        try:
            process = subprocess.Popen(
                hook.argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                env=environment(os.environ, hook.pass_env),
                start_new_session=True,
            )
        except (OSError, ValueError) as exc:
            reason = getattr(exc, "strerror", None) or type(exc).__name__
            raise HookFailed(
                f"hook {hook.name!r}: {hook.target} cannot be run: {reason}", retryable=False
            ) from None
        try:
            process.communicate(notice.body().encode(), timeout=hook.timeout)
        except subprocess.TimeoutExpired:
            raise HookFailed(
                f"hook {hook.name!r}: {hook.target} took longer than {hook.timeout:g} s",
                retryable=True,
            ) from None
        finally:
            _kill(process)
        if process.returncode:
            raise HookFailed(
                f"hook {hook.name!r}: {hook.target} ended with {process.returncode}"
                f"{_last_of(complaints)}",
                retryable=True,
            )


def environment(given: Mapping[str, str], passed: Sequence[str] = ()) -> dict[str, str]:
    """What a program may see: no secrets, and no settings of ours, but what is named."""
    return {
        name: value
        for name, value in given.items()
        if name in passed
        or not (name.startswith("ORCH_") or tells_secret(name) or has_password(value))
    }


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()


def _last_of(complaints: object) -> str:
    assert hasattr(complaints, "seek") and hasattr(complaints, "read")
    size = complaints.seek(0, os.SEEK_END)
    complaints.seek(max(0, size - SHOWN))
    text = complaints.read().decode(errors="replace")
    told = Redactor(os.environ).text(" ".join(text.split()))
    return f": {told}" if told else ""
