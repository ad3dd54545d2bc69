"""Flower as a child of ``orch dev`` that ends with it: python -m orch.cli.flower PORT"""

from __future__ import annotations

import os
import sys
import threading
import time

from orch.app import create_app
from orch.control.workers import PARENT_VARIABLE
from orch.server import find_server
from orch.settings import load_settings


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


def main(port: str) -> None:
    parent = int(os.environ[PARENT_VARIABLE])
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    settings = load_settings()
    app = create_app(settings, find_server(settings).url)
    app.start(["flower", f"--port={port}", "--address=127.0.0.1"])


if __name__ == "__main__":
    main(sys.argv[1])
