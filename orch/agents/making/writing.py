"""Writes files that were made, below one directory, and keeps what others wrote."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from orch.agents.context import Context
from orch.agents.files import inside, named_errors, replace
from orch.agents.process import run
from orch.errors import StepError

Existing = Literal["keep", "replace", "fail"]


@dataclass
class Written:
    """Absolute paths. `files`: those that are there as they were made; `kept`: of others."""

    files: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def write_all(
    directory: Path, contents: Mapping[str, str], existing: Existing = "replace"
) -> Written:
    """Write texts by their paths below a directory.

    existing  what becomes of a file that is there and has another content

    Raises StepError `PathOutsideRoot`, `FileExists` before anything is written; those of files.
    """
    wanted = {
        inside(directory, name): text.encode(errors="replace") for name, text in contents.items()
    }
    others = {path for path, content in wanted.items() if _differs(path, content)}
    if others and existing == "fail":
        raise StepError("FileExists", f"{str(min(others))!r} exists already, with other content")
    written = Written()
    for path, content in wanted.items():
        if path in others and existing == "keep":
            written.kept.append(str(path))
            continue
        with named_errors("write", path):
            if path in others or not path.exists():
                replace(path, content)
        written.files.append(str(path))
    return written


def _differs(path: Path, content: bytes) -> bool:
    with named_errors("read", path):
        return path.is_dir() or (path.exists() and path.read_bytes() != content)


def laid_out(contents: Mapping[str, str], context: Context) -> dict[str, str]:
    """The same texts; what is Python in Ruff's layout, where Ruff is on this worker."""
    sources = {name: text for name, text in contents.items() if name.endswith(".py")}
    if not sources or importlib.util.find_spec("ruff") is None:
        return dict(contents)
    with tempfile.TemporaryDirectory(prefix="orch-layout-") as folder:
        drafts = {name: Path(folder, f"{number}.py") for number, name in enumerate(sources)}
        for name, draft in drafts.items():
            draft.write_text(sources[name], encoding="utf-8")
        options = ["--isolated", "--line-length=100", "--target-version=py311", "--no-cache"]
        command = [sys.executable, "-P", "-m", "ruff", "format", "--quiet", *options, folder]
        run(command, context)  # what it cannot read stays as it is
        return {
            **contents,
            **{name: draft.read_text(encoding="utf-8") for name, draft in drafts.items()},
        }
