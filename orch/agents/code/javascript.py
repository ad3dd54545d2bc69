"""JavaScript as Node.js sees it: is a file one that it could load?"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from orch.agents.code.issues import Issue
from orch.agents.code.programs import node, run_node
from orch.agents.context import Context
from orch.agents.files import named_errors
from orch.agents.process import Finished, text

READABLE = frozenset({".js", ".mjs", ".cjs"})
_MODULE = re.compile(r"^\s*(?:import\b(?!\s*\()|export\b)", re.MULTILINE)
_PLACE = re.compile(r"^(?:\[stdin\]|.*?):(\d+)$", re.MULTILINE)
_SAID = re.compile(r"^\w*Error: (.+)$", re.MULTILINE)


def check_syntax(
    files: Sequence[Path], context: Context, cwd: Path
) -> tuple[list[Issue], list[dict[str, str]]]:
    """The files that Node.js cannot read, and those that could not be checked, with reasons."""
    issues: list[Issue] = []
    skipped: list[dict[str, str]] = []
    for file in files:
        reason = _unchecked(file)
        if reason:
            skipped.append({"file": str(file), "reason": reason})
            continue
        context.raise_if_cancelled()
        with named_errors("read", file):
            source = file.read_bytes()
        kind = "module" if is_module(file, source.decode(errors="replace")) else "commonjs"
        # From a file, Node 20 takes a faulty module for a script that may be one, and is content.
        finished = run_node(
            ["--check", f"--input-type={kind}", "-"], context, cwd=cwd, stdin=source
        )
        if finished.exit_code != 0:
            issues.append(_issue(file, finished))
    return issues, skipped


def is_module(file: Path, source: str) -> bool:
    """Whether Node.js would load a file as an ES module."""
    if file.suffix in (".mjs", ".cjs"):
        return file.suffix == ".mjs"
    for folder in file.parents:
        manifest = folder / "package.json"
        if manifest.is_file():
            try:
                kind = json.loads(manifest.read_text(encoding="utf-8")).get("type")
            except (OSError, ValueError, AttributeError):
                kind = None
            if kind in ("module", "commonjs"):
                return bool(kind == "module")
            break
    return _MODULE.search(source) is not None


def _unchecked(file: Path) -> str:
    if file.suffix.lower() not in READABLE:
        return f"Node.js does not check {file.suffix} files"
    return "" if node() else "there is no `node` on this worker"


def _issue(file: Path, finished: Finished) -> Issue:
    said = text(finished.stderr)
    place, message = _PLACE.search(said), _SAID.search(said)
    line = int(place[1]) if place else 0
    return Issue(
        file=str(file),
        line=line,
        column=_column(said) if line else 0,
        code="syntax",
        message=message[1] if message else said.strip()[:200],
        severity="error",
        tool="node",
    )


def _column(said: str) -> int:
    """Where the carets below the line point."""
    carets = re.search(r"^( *)\^", said, re.MULTILINE)
    return len(carets[1]) + 1 if carets else 1
