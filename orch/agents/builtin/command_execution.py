"""`command_execution`: runs a program, or a script of /bin/sh.

    {"command": "wc -l < ${$.input.file}", "timeout": 30}
    {"command": ["wc", "-l", "$.input.file"], "cwd": "/srv/data", "input": "text for stdin"}

gives `{"result": stdout, "stderr": ..., "exit_code": 0}`. A text is a script; a list is a
program with its arguments, without a shell. In a text, values arrive as environment variables
(`orch.agents.shell`).
"""

from __future__ import annotations

import signal
from typing import Annotated, Any

from pydantic import Field

from orch.agents.capability import capability
from orch.agents.context import Context
from orch.agents.files import working_directory
from orch.agents.process import Finished, run, tail, text
from orch.agents.shell import ShellText
from orch.errors import StepError

SHELL = "/bin/sh"


@capability("command_execution")
def command_execution(
    command: ShellText | list[str] | str,
    cwd: str | None = None,
    env: dict[str, str] | None = None,
    timeout: Annotated[float, Field(gt=0)] | None = None,
    input: str | None = None,
    output_limit: Annotated[int, Field(ge=0)] = 1 << 20,
    context: Context | None = None,
) -> dict[str, Any]:
    """Run a command and give its output.

    command       a script for /bin/sh, or a program and its arguments
    cwd           directory to run in; none: the root of files, else the worker's current one
    env           environment variables, added to those that the worker passes on
    timeout       seconds
    input         text for its standard input
    output_limit  bytes of stdout, and of stderr

    Raises StepError: `CommandFailed` (exit code other than 0, or not started),
    `CommandTimeout`, `Cancelled`, `OutputTooLarge`, `InvalidInput`, `ShellForbidden`,
    `PathOutsideRoot`.
    """
    arguments, environment = _arguments(command)
    finished = run(
        arguments,
        context or Context(),
        cwd=working_directory(cwd),
        environment={**(env or {}), **environment},
        stdin=(input or "").encode(errors="surrogateescape"),
        timeout=timeout,
        output_limit=output_limit,
    )
    if finished.exit_code != 0:
        raise _failed(command, finished)
    return {
        "result": text(finished.stdout),
        "stderr": text(finished.stderr),
        "exit_code": finished.exit_code,
    }


def _arguments(command: ShellText | list[str] | str) -> tuple[list[str], dict[str, str]]:
    if isinstance(command, str):
        command = ShellText(command)
    if isinstance(command, list):
        arguments, environment, empty = command, {}, not command or not command[0]
    else:
        arguments = [SHELL, "-c", command.script]
        environment, empty = command.environment, not command.script.strip()
    if empty:
        raise StepError("InvalidInput", "capability 'command_execution' got an empty command")
    return arguments, environment


def _failed(command: ShellText | list[str] | str, finished: Finished) -> StepError:
    if isinstance(command, list):
        shown = " ".join(command)
    else:
        shown = command.script if isinstance(command, ShellText) else command
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    lines = tail(finished.stderr, 500).strip()
    said = f":\n{lines}" if lines else "; it wrote nothing to stderr"
    return StepError(
        "CommandFailed",
        f"command {shown!r} {_ending(finished.exit_code)}{said}",
        data={
            "exit_code": finished.exit_code,
            "stdout": tail(finished.stdout),
            "stderr": tail(finished.stderr),
        },
    )


def _ending(exit_code: int) -> str:
    if exit_code > 0:
        return f"ended with exit code {exit_code}"
    try:
        return f"was ended by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"was ended by signal {-exit_code}"
