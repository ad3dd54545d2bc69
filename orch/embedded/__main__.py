"""The keeper's process: ``python -S -m orch.embedded <data directory> [<server program>]``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from orch.embedded.files import Files
from orch.embedded.keeper import Keeper
from orch.embedded.logs import trim
from orch.embedded.program import find_binary


def main(arguments: Sequence[str]) -> None:
    files = Files(Path(arguments[0]).absolute())
    binary = Path(arguments[1]) if len(arguments) > 1 else find_binary()
    os.umask(0o077)
    files.create()
    for log in (files.server_log, files.keeper_log):
        trim(log)
    if os.fork():
        os._exit(0)
    Keeper(files, binary).run()


if __name__ == "__main__":
    main(sys.argv[1:])
