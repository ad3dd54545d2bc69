"""The picture of a run: ``bench.svg`` and ``bench.png``.

Matplotlib is no dependency of the project: it is installed with the peers, and the picture is
drawn by their Python where this one has none.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.peers.places import PYTHON, ROOT


class NotDrawn(Exception):
    """Says why, and what to do."""


def draw(document: dict[str, Any], folder: Path) -> list[Path]:
    """Write the files into a directory; their paths. Raises NotDrawn."""
    python = sys.executable if importlib.util.find_spec("matplotlib") else str(PYTHON)
    if not Path(python).exists():
        raise NotDrawn("matplotlib is not installed; `python -m bench.peers` does it")
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [python, "-m", "bench.picture", str(folder.resolve())],
        cwd=ROOT,
        input=json.dumps(document),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise NotDrawn(f"the picture was not drawn: {done.stderr.strip()[-500:]}")
    return [folder / name for name in json.loads(done.stdout)]
