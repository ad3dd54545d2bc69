"""Runs the programs that judge code: Python's as modules of this interpreter, and Node."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from orch.agents.context import Context
from orch.agents.process import Finished, run, tail
from orch.errors import StepError

OUTPUT_LIMIT = 16 << 20
"""Bytes of stdout, and of stderr, that are taken of such a program."""

_ENVIRONMENT = {
    "NO_COLOR": "1",
    "PYTHONDONTWRITEBYTECODE": "1",  # else a review would leave files behind
    "PYTHONUTF8": "1",
}


def need_module(module: str) -> None:
    """Raises StepError `ToolMissing` where a library of the extra `agents` is not installed."""
    if importlib.util.find_spec(module) is None:
        raise StepError(
            "ToolMissing",
            f"there is no {module!r} on this worker",
            hint="install it there: pip install 'orch[agents]'",
        )


def run_module(
    module: str,
    arguments: Sequence[str],
    context: Context,
    *,
    cwd: Path,
    stdin: bytes = b"",
    timeout: float | None = None,
    see_cwd: bool = False,
    passed: Sequence[str] = (),
) -> Finished:
    """Run `python -m module` with this interpreter.

    see_cwd  whether it can import what lies in `cwd`. A linter must not: a file `json.py` of
             the project would be imported by the linter itself.
    passed   names of variables of the worker that it gets besides the permitted ones

    Raises StepError `ToolMissing`, and those of `orch.agents.process.run`.
    """
    need_module(module)
    return run(
        [sys.executable, *([] if see_cwd else ["-P"]), "-m", module, *arguments],
        context,
        cwd=str(cwd),
        environment=_ENVIRONMENT,
        passed=passed,
        stdin=stdin,
        timeout=timeout,
        output_limit=OUTPUT_LIMIT,
    )


def node() -> str | None:
    """The path of Node.js, where this worker has it."""
    return shutil.which("node")


def run_node(
    arguments: Sequence[str],
    context: Context,
    *,
    cwd: Path,
    stdin: bytes = b"",
    timeout: float | None = None,
) -> Finished:
    """Run `node`. Raises StepError `ToolMissing`, and those of `orch.agents.process.run`."""
    program = node()
    if program is None:
        raise StepError(
            "ToolMissing", "there is no `node` on this worker", hint="install Node.js on it"
        )
    return run(
        [program, *arguments],
        context,
        cwd=str(cwd),
        environment=_ENVIRONMENT,
        stdin=stdin,
        timeout=timeout,
        output_limit=OUTPUT_LIMIT,
    )


def failed(program: str, finished: Finished) -> StepError:
    """What a program that could not do its work said."""
    said = tail(finished.stderr, 500).strip() or tail(finished.stdout, 500).strip()
    return StepError(
        "ToolFailed",
        f"`{program}` ended with exit code {finished.exit_code}: {said or 'it wrote nothing'}",
        data={"exit_code": finished.exit_code, "stderr": tail(finished.stderr)},
    )
