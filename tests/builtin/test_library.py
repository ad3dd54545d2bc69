"""The workflows that ship with the package, with the real capabilities and no engine."""

from __future__ import annotations

import csv
import importlib
from pathlib import Path
from typing import Any

import pytest

from orch.agents.builtin import BUILTIN_MODULES
from orch.agents.capability import get
from orch.agents.context import Context
from orch.errors import StepError
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.expressions import compile_value, parse_expression
from orch.workflows.loading import library_definition, library_names
from orch.workflows.validation import Severity, check_input, validate_definition

SALES = Path(__file__).parents[2] / "examples" / "sales.csv"
BY_REGION = [
    {"type": "filter", "where": "status == 'paid' && amount > 100"},
    {"type": "rename", "columns": {"region": "area"}},
    {
        "type": "aggregate",
        "by": ["area"],
        "values": {"total": {"sum": "amount"}, "orders": {"count": True}},
    },
    {"type": "sort", "by": "area"},
]


@pytest.fixture(autouse=True)
def _capabilities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_PAGES", str(tmp_path / "pages"))
    for module in BUILTIN_MODULES:
        importlib.import_module(module)


def definition(name: str) -> WorkflowDefinition:
    found = library_definition(name)
    assert found is not None
    return found


def walk(name: str, **data: Any) -> tuple[list[str], Any]:
    """Run a workflow of tasks, one attempt each: the steps that ran, and the result."""
    workflow = definition(name)
    steps = {step.id: step for step in workflow.steps}
    order: list[str] = []
    data = {"input": {}, "variables": {}, "workflowName": name, "executionId": "e1", **data}
    at: Any = workflow.steps[0].id
    while at:
        step = steps[at]
        order.append(at)
        capability = get(step.capability or "")
        assert capability is not None
        compiled = compile_value(step.input)
        templates = {
            key: template.values(data)
            for key in capability.template_parameters
            if (template := compiled.template_at(key)) and not template.is_expression
        }
        context = Context(execution_id="e1", workflow=name, path=at)
        try:
            output = capability.call(compiled.evaluate(data), context, templates)
        except StepError as failed:
            if step.on_error is None:
                raise
            data["error"] = {"name": failed.name, "message": failed.message}
            at = step.on_error
            continue
        for variable, source in step.output_mapping().items():
            data["variables"][variable] = parse_expression(source).evaluate(
                {**data, "output": output}
            )
        at = step.next
    return order, compile_value(workflow.result).evaluate(data)


@pytest.mark.parametrize("name", library_names())
def test_every_workflow_is_valid_without_a_warning(name: str) -> None:
    findings = validate_definition(definition(name), known_workflows=library_names())
    assert [str(f) for f in findings if f.severity is not Severity.INFO] == []


def test_data_is_fetched_transformed_and_saved(tmp_path: Path) -> None:
    target = tmp_path / "a; rm -rf b" / "totals.csv"
    given = {
        "fetchCommand": ["cat", str(SALES)],
        "transformations": BY_REGION,
        "outputPath": str(target),
    }
    check_input(definition("data_processing"), given)
    order, result = walk("data_processing", input=given)
    assert order == ["fetch_data", "transform_data", "save_results", "send_notification"]
    assert result == {"savedPath": str(target), "rows": 4}
    saved = list(csv.DictReader(target.read_text().splitlines()))
    assert [row["area"] for row in saved] == ["East", "North", "South", "West"]
    paid = [
        float(row["amount"])
        for row in csv.DictReader(SALES.read_text().splitlines())
        if row["status"] == "paid" and row["region"] == "East" and float(row["amount"]) > 100
    ]
    assert float(saved[0]["total"]) == pytest.approx(sum(paid))
    assert int(saved[0]["orders"]) == len(paid)
    notice = (tmp_path / "a; rm -rf b" / "totals.csv.log").read_text()
    assert notice == f"Data processing completed successfully, for everybody: {target}\n"


def test_each_failure_has_another_way(tmp_path: Path) -> None:
    given = {
        "fetchCommand": "echo 'no such host' >&2; exit 6",
        "backupFetchCommand": f"cat '{SALES}'",
        "transformations": [{"type": "filter", "where": "price > 1"}],
        "fallbackTransformations": [{"type": "limit", "count": 3}],
        "outputPath": str(tmp_path / "rows.json"),
    }
    order, result = walk("data_processing", input=given)
    assert order == [
        "fetch_data",
        "handle_fetch_error",
        "use_backup_data",
        "transform_data",
        "log_transform_error",
        "use_simple_transform",
        "save_results",
        "send_notification",
    ]
    assert result["rows"] == 3
    pages = "".join(path.read_text() for path in (tmp_path / "pages").glob("*.md"))
    assert "no such host" in pages
    assert "'price'" in pages


def test_a_result_that_cannot_be_saved_leaves_a_note(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    given = {"fetchCommand": f"cat '{SALES}'", "outputPath": str(tmp_path / "out")}
    given["notificationEmail"] = "ops@example.com; id"
    order, result = walk("data_processing", input=given)
    assert order[-2:] == ["handle_save_error", "send_error_notification"]
    assert result["savedPath"] is None
    assert (tmp_path / "out.error.log").read_text() == (
        "Error saving data\n"
        "Data processing completed with errors, for ops@example.com; id. Check error logs.\n"
    )


def test_an_error_that_nobody_took_is_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = {"name": "CommandFailed", "message": 'it said "$(id)"'}
    for log in (None, str(tmp_path / "errors.log")):
        if log:
            monkeypatch.setenv("ORCH_ERROR_LOG", log)
        order, _ = walk("global_error_handler", error=error, stepId="fetch_data")
        assert order == ["log_error", "notify_admin"]
    line = "Critical error in workflow global_error_handler at step fetch_data: "
    assert (tmp_path / "errors.log").read_text() == f'{line}it said "$(id)"\n'
