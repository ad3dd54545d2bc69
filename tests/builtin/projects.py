"""Looks at projects that capabilities made, with the tools that their users have."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run(directory: Path, *command: str) -> str:
    """What a command says; it must end with 0, and gets no path of this project."""
    hidden = ("PYTHONPATH", "PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "PYTEST_XDIST_WORKER")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    ended = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=60
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    return said


def assert_clean(directory: Path) -> None:
    """The linter finds nothing, and would lay nothing out otherwise."""
    run(directory, sys.executable, "-m", "ruff", "check", "--no-cache", ".")
    run(directory, sys.executable, "-m", "ruff", "format", "--no-cache", "--check", ".")


def assert_tested(directory: Path) -> None:
    """There are tests, and they pass."""
    if (directory / "package.json").exists():
        assert "\n# fail 0" in run(directory, "node", "--test", "--test-reporter=tap")
    else:
        options = ("-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist")
        assert " passed" in run(directory, sys.executable, "-m", "pytest", *options)
