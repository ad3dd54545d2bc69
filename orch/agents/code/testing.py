"""Runs tests in a process of their own: pytest's, and those of Node.js."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orch.agents.code.junit import Case, read_cases
from orch.agents.code.programs import failed, run_module, run_node
from orch.agents.context import Context
from orch.agents.process import Finished

RUNS_IN_NODE = frozenset({".js", ".mjs", ".cjs"})
_PYTHON_TEST = re.compile(r"test_.*\.py|.*_test\.py")
_SCRIPT_TEST = re.compile(r".*[.-]test\.[cm]?js|test-.*\.[cm]?js|test\.[cm]?js")
_NOTHING_COLLECTED = 5


@dataclass(frozen=True)
class Run:
    """What a runner said: its tests, and whether it found fault with any, or with itself."""

    framework: str
    passed: bool
    cases: list[Case]


def is_test(file: Path) -> bool:
    """Whether a runner takes a file for one of tests by its name."""
    pattern = _PYTHON_TEST if file.suffix == ".py" else _SCRIPT_TEST
    return pattern.fullmatch(file.name) is not None


def run_pytest(files: Sequence[Path], context: Context, cwd: Path, timeout: float | None) -> Run:
    """Run tests of Python. Raises StepError `ToolFailed` where pytest itself fails."""
    with tempfile.TemporaryDirectory(prefix="orch-tests-") as folder:
        report = Path(folder, "report.xml")
        # The older family of the report says in which file and line a test stands.
        options = [
            "-q",
            "-p",
            "no:cacheprovider",
            "--continue-on-collection-errors",
            "-o",
            "junit_family=xunit1",
        ]
        options += [f"--junitxml={report}", f"--rootdir={cwd}", "--"]
        finished = run_module(
            "pytest",
            [*options, *map(str, files)],
            context,
            cwd=cwd,
            timeout=timeout,
            see_cwd=True,
            passed=("PYTEST_DISABLE_PLUGIN_AUTOLOAD",),
        )
        found = _cases(report, "pytest", finished, fine=(0, 1, _NOTHING_COLLECTED))
        cases = [replace(case, file=str(cwd / case.file) if case.file else "") for case in found]
    return Run("pytest", finished.exit_code == 0, cases)


def run_node_tests(
    files: Sequence[Path], context: Context, cwd: Path, timeout: float | None
) -> Run:
    """Run tests of JavaScript. Raises StepError `ToolMissing`, `ToolFailed`."""
    with tempfile.TemporaryDirectory(prefix="orch-tests-") as folder:
        report = Path(folder, "report.xml")
        options = ["--test", "--test-reporter=junit", f"--test-reporter-destination={report}"]
        finished = run_node([*options, *map(str, files)], context, cwd=cwd, timeout=timeout)
        cases = _cases(report, "node --test", finished, fine=(0, 1))
    return Run("node", finished.exit_code == 0, cases)


def _cases(report: Path, program: str, finished: Finished, fine: tuple[int, ...]) -> list[Case]:
    if finished.exit_code == 2 and report.exists():  # pytest: a file could not be collected
        cases = read_cases(report.read_bytes(), program)
        if any(case.outcome == "error" for case in cases):
            return cases
    if finished.exit_code not in fine or not report.exists():
        raise failed(program, finished)
    return read_cases(report.read_bytes(), program)
