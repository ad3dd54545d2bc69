"""Commands of ``orch`` in processes of their own, without what it takes to start Python for each.

A process that has imported all of it waits, and is forked for each command. What differs from a
command that a shell starts is only that: directory, environment, input and output are its own.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

LONGEST = 60.0
"""Seconds that a command may take."""

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.commands_ready"])


class Ended(NamedTuple):
    code: int
    out: str
    err: str


def run(
    arguments: Sequence[str], *, cwd: Path, environment: Mapping[str, str], stdin: str = ""
) -> Ended:
    """Run a command to its end."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "in").write_text(stdin)
        process = _context.Process(
            target=_run, args=(list(arguments), str(cwd), dict(environment), name)
        )
        process.start()
        process.join(LONGEST)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"orch {' '.join(arguments)} goes on after {LONGEST:g} s")
        code = process.exitcode
        process.close()
        return Ended(code, (place / "out").read_text(), (place / "err").read_text())


def _run(arguments: list[str], cwd: str, environment: dict[str, str], place: str) -> None:
    for number, (name, flags) in enumerate(
        [("in", os.O_RDONLY), ("out", os.O_WRONLY | os.O_CREAT), ("err", os.O_WRONLY | os.O_CREAT)]
    ):
        os.dup2(os.open(os.path.join(place, name), flags, 0o600), number)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = ["orch", *arguments]
    from orch.cli import main

    main()
