"""`test_execution`: runs tests, with pytest and with Node.js, or writes them from a specification.

    {"path": "app"}
    {"path": "app", "pattern": "tests/**/*.test.{js,ts}", "timeout": 120}

gives `{"passed", "counts", "failures", "tests", "duration", "frameworks", "skipped"}`. Tests that
fail are an output, unless `mustPass`.

    {"path": "app/tests", "specifications": {"components": [{"name": "cart.py", ...}]}}

writes the tests of a specification (`orch.agents.code.specified`) and runs none; it gives
`{"path", "files", "kept"}`. A file that somebody else wrote is kept.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from orch.agents.capability import capability
from orch.agents.code.junit import Case, counted
from orch.agents.code.linter import Linter
from orch.agents.code.selection import directory, select, walk
from orch.agents.code.specified import specified_tests
from orch.agents.code.testing import RUNS_IN_NODE, Run, is_test, run_node_tests, run_pytest
from orch.agents.context import Context
from orch.agents.files import inside, make_directory, named_errors, replace, resolve
from orch.errors import StepError

_SHOWN = 200


@capability("test_execution")
def execute_tests(
    path: str,
    pattern: str | list[str] | None = None,
    testPattern: str | list[str] | None = None,  # both are names that workflows use
    specifications: dict[str, Any] | None = None,
    language: str | None = None,
    timeout: Annotated[float, Field(gt=0)] | None = None,
    mustPass: bool = False,
    allowEmpty: bool = False,
    context: Context | None = None,
) -> dict[str, Any]:
    """Run the tests of a project, or write some.

    path            the directory of the project; with `specifications`, that of its tests
    pattern         which files are run, relative to `path`; none: by their names
    testPattern     the same
    specifications  what to write tests from; none are run then
    language        of components that do not say: `python` or `javascript`
    timeout         seconds for each of the runners
    mustPass        whether tests that fail are an error
    allowEmpty      whether it is no error that there are no tests

    Raises StepError: `NoTests`, `TestsFailed`, `InvalidInput`, `FileNotFound`, `ToolMissing`,
    `ToolFailed`, and those of files and programs.
    """
    context = context or Context()
    if specifications is not None:
        return _write(path, specifications, language, context)
    top = directory(path)
    python, scripts, skipped = _found(top, pattern or testPattern)
    if not python and not scripts and not allowEmpty:
        raise _no_tests(top, pattern or testPattern, skipped)
    started = time.monotonic()
    runs = [run_pytest(python, context, top, timeout)] if python else []
    runs += [run_node_tests(scripts, context, top, timeout)] if scripts else []
    output = _output(runs, skipped, time.monotonic() - started)
    if mustPass and not output["passed"]:
        raise _not_passed(output)
    return output


# Running -------------------------------------------------------------------------------------


def _found(
    top: Path, pattern: str | list[str] | None
) -> tuple[list[Path], list[Path], list[dict[str, str]]]:
    """Files for pytest, files for Node.js, and those that neither runs."""
    if pattern is None:
        files = [file for file in walk(top) if is_test(file)]
    else:
        files = list(select(pattern, {".py", *RUNS_IN_NODE}, base=top, allow_empty=True).files)
    python = [file for file in files if file.suffix == ".py"]
    scripts = [file for file in files if file.suffix in RUNS_IN_NODE]
    known = {*python, *scripts}
    skipped = [
        {"file": str(file), "reason": f"no runner is known for {file.suffix or 'such'} files"}
        for file in files
        if file not in known
    ]
    return python, scripts, skipped


def _output(runs: list[Run], skipped: list[dict[str, str]], duration: float) -> dict[str, Any]:
    cases = [case for run in runs for case in run.cases]
    failures = [case for case in cases if case.outcome in ("failed", "error")]
    return {
        "passed": all(run.passed for run in runs),
        "counts": counted(cases),
        "failures": [asdict(case) for case in failures[:_SHOWN]],
        "tests": [_brief(case) for case in cases[:_SHOWN]],
        "duration": round(duration, 3),
        "frameworks": [run.framework for run in runs],
        "skipped": skipped,
    }


def _brief(case: Case) -> dict[str, Any]:
    return {"name": case.name, "outcome": case.outcome, "duration": case.duration}


def _no_tests(
    top: Path, pattern: str | list[str] | None, skipped: list[dict[str, str]]
) -> StepError:
    by = f" by {pattern!r}" if pattern else ""
    there = sorted({file.suffix for file in walk(top) if is_test(file)})
    if skipped:
        why = f"; {skipped[0]['file']!r} was left out: {skipped[0]['reason']}"
    else:
        why = f"; there are tests in {' and '.join(there)} files" if there and pattern else ""
    return StepError(
        "NoTests",
        f"no tests were found in {str(top)!r}{by}{why}",
        hint="tests are `test_*.py`, `*_test.py` and `*.test.js`; `allowEmpty: true` takes none",
    )


def _not_passed(output: dict[str, Any]) -> StepError:
    counts, failures = output["counts"], output["failures"]
    bad = counts["failed"] + counts["errors"]
    first = f": {failures[0]['name']}: {failures[0]['message']}" if failures else ""
    return StepError(
        "TestsFailed",
        f"{bad} of {counts['total']} tests did not pass{first}",
        data={"counts": counts, "failures": failures[:20]},
    )


# Writing -------------------------------------------------------------------------------------


def _write(
    path: str, specification: dict[str, Any], language: str | None, context: Context
) -> dict[str, Any]:
    top = resolve(path)
    # All are made before any is written: a fault in the last one leaves no files behind.
    made = {
        inside(top, name): content
        for name, content in specified_tests(specification, language).items()
    }
    with named_errors("make the directory", top):
        make_directory(top)
    linter = Linter(context, top)
    files, kept = [], []
    for file, content in made.items():
        laid_out = linter.formatted(file, content) if file.suffix == ".py" else content
        with named_errors("write", file):
            if file.exists() and file.read_bytes() != laid_out.encode():
                kept.append(str(file))
                continue
            replace(file, laid_out.encode(errors="replace"))
        files.append(str(file))
    return {"path": str(top), "files": files, "kept": kept}
