"""Where pages, their templates and databases are kept."""

from __future__ import annotations

import os
from pathlib import Path

from orch.agents.files import resolve

DIRECTORY_VARIABLE = "ORCH_PAGES"


def pages_directory() -> Path:
    """`ORCH_PAGES`, else `pages` below the root of files. Raises StepError `PathOutsideRoot`."""
    return resolve(os.environ.get(DIRECTORY_VARIABLE) or "pages")
