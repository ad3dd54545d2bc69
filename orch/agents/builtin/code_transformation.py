"""`code_transformation`: changes Python code: mends what a review or tests found, or as it is told.

    {"path": "app", "issues": "$.variables.issues"}
    {"path": "app", "testResults": "$.variables.testResults"}
    {"path": "app", "dryRun": true, "transformations": [
        {"type": "rename", "from": "shop.cart.total", "to": "total_of"},
        {"type": "remove_unused_imports"}, {"type": "add_docstrings"}, {"type": "format"}]}

gives `{"changed", "diff", "dryRun", "fixed", "remaining", "failures", "skipped"}`. Without any of
them, the safe fixes of the project's own rules are applied, and files are laid out. All files are
worked out before the first is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orch.agents.capability import capability
from orch.agents.code.changes import Changes
from orch.agents.code.mending import outcome
from orch.agents.code.repairs import Mender
from orch.agents.code.selection import PYTHON, Selection, directory, select
from orch.agents.code.transforming import Transformer, understood
from orch.agents.context import Context
from orch.agents.files import resolve
from orch.errors import StepError


@capability("code_transformation")
def code_transformation(
    path: str,
    files: str | list[str] | None = None,
    transformations: list[dict[str, Any]] | None = None,
    issues: list[dict[str, Any]] | None = None,
    testResults: dict[str, Any] | None = None,  # the names that workflows use
    dryRun: bool = False,
    context: Context | None = None,
) -> dict[str, Any]:
    """Change the Python files at `path`, a directory or a file.

    files            paths and patterns below it; none: all of it
    transformations  what is done, in order
    issues           what reviews found: what can be mended is, and the rest is `remaining`
    testResults      what `test_execution` gave: imports that tests missed are added, and tests
                     that nothing was done for are `failures`
    dryRun           whether nothing is written, and the diff alone says what would be

    Raises StepError: `InvalidInput`, `NotFound` (a name to rename), `Conflict`, `FileNotFound`,
    `NoFiles`, `PathOutsideRoot`, `ToolMissing`, `ToolFailed`, and those of files and programs.
    """
    context = context or Context()
    steps = [understood(number, t) for number, t in enumerate(transformations or [], start=1)]
    chosen = _chosen(path, files)
    changes = Changes(chosen.base)
    python = chosen.of(PYTHON)
    remaining: list[dict[str, Any]] = []
    failures: list[str] = []
    fixed = 0
    if issues is not None or testResults is not None:
        mender = Mender(changes, python, context)
        fixed, remaining = mender.mend_issues(issues or [])
        failures = mender.mend_failures(testResults or {})
        mender.finish()
    elif not steps:
        steps = [understood(1, {"type": "fix"}), understood(2, {"type": "format"})]
    Transformer(changes, python, context).apply(steps)
    told = {"fixed": fixed, "remaining": remaining, "failures": failures}
    return {**told, **outcome(changes, dryRun)}


def _chosen(path: str, files: str | list[str] | None) -> Selection:
    place = resolve(path)
    if place.is_file():
        if place.suffix.lower() not in PYTHON:
            raise StepError("InvalidInput", f"{str(place)!r} is no Python file")
        return Selection(place.parent, (place,), ())
    top = directory(path)
    given: str | Sequence[str] = files or str(top)
    return select(given, PYTHON, base=top, allow_empty=files is None)
