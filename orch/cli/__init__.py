"""The command line. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and leave with its exit code; see docs/cli.md for the codes."""
    from orch.cli.app import run_command

    sys.exit(run_command(list(sys.argv[1:] if arguments is None else arguments)))
