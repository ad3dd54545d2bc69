"""The plan of a feature: its parts, their tests and its tasks, by rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orch.agents.context import Context
from orch.agents.making.components import Kind, check_of, contents, part
from orch.agents.making.layout import Existing, Layout
from orch.agents.making.names import kebab, title
from orch.agents.planning.analysis import (
    analyse,
    assumptions,
    complexity,
    features_in,
    language_of,
)
from orch.agents.planning.tasks import Tasks, priority_of
from orch.agents.planning.wanted import about, statements

_FOLDERS: dict[Kind, str] = {"view": "components", "service": "services"}


def plan_feature(
    feature: Any,
    constraints: Any = None,
    priority: str | int | None = None,
    existing: Existing | None = None,
    name: str | None = None,
    context: Context | None = None,
) -> dict[str, Any]:
    """The specifications of a feature, and the tasks that it takes.

    feature      a text, a list or an object
    constraints  likewise; the language that they name counts in a new project
    existing     the project that it goes into; None: one that is still to be made
    name         of that project; where neither is given, components have no place in it, and
                 `test_execution` makes their tests of what they export

    `specifications` has `uiComponents` and `dataServices` for `component_generation`, `tests`
    for `test_execution`, and what `project_scaffolding` wants. Raises StepError `InvalidInput`.
    """
    wanted = statements(feature, "feature", required=True)
    limits = statements(constraints, "constraints")
    text = "\n".join([*wanted, *limits])
    found = analyse(wanted, constraints, name, existing)
    layout = existing.layout if existing else Layout.of(found["language"], found["projectName"])
    subject = title(about(feature, wanted) or "Feature")
    views, services = [_part("view", subject, layout)], [_part("service", subject, layout)]
    tests = _tests([*views, *services], layout, context or Context())
    if existing is None and name is None:
        # Who does not say where the project is says where each kind of component goes.
        views, services, tests = _unplaced(views), _unplaced(services), []
    tasks = _tasks(subject, Tasks(complexity(len(wanted) + len(limits)), priority_of(priority)))
    specifications = {
        "title": subject,
        "summary": wanted[0],
        "requirements": wanted,
        "constraints": limits,
        "language": layout.language,
        "projectType": found["projectType"],
        "projectName": found["projectName"],
        "requiresScaffolding": existing is None,
        "scaffoldingOptions": {"description": wanted[0], "goals": wanted[:20]},
        "uiComponents": views,
        "dataServices": services,
        "tests": tests,
        "acceptance": _acceptance(subject),
        "notes": assumptions(text, layout.language) if language_of(text) else [],
    }
    return {
        "title": f"Feature: {subject}",
        "branch": f"feature/{kebab(subject)}",
        "specifications": specifications,
        "tasks": tasks.all,
        "hours": tasks.hours,
        "priority": priority_of(priority),
        "related": features_in(text),
    }


def _part(kind: Kind, subject: str, layout: Layout) -> dict[str, Any]:
    return part(kind, subject, layout, _FOLDERS[kind])


def _tests(
    parts: Sequence[Mapping[str, Any]], layout: Layout, context: Context
) -> list[dict[str, Any]]:
    """As `test_execution` writes them: a name in `tests`, and the content."""
    checks = [check_of(made, layout, _FOLDERS[made["kind"]]) for made in parts]
    texts = contents(checks, "", context)
    return [{"name": file, "content": content} for file, content in texts.items()]


def _unplaced(parts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same components, named by their files alone."""
    return [
        {
            **{key: value for key, value in made.items() if key != "file"},
            "name": made["file"].rpartition("/")[2],
        }
        for made in parts
    ]


def _acceptance(subject: str) -> list[str]:
    lower = subject[:1].lower() + subject[1:]
    return [
        f"records of {lower} can be made, found, changed and dropped",
        f"{lower} is shown, and what is shown cannot be markup",
        "all tests pass, and the linter finds nothing",
    ]


def _tasks(subject: str, tasks: Tasks) -> Tasks:
    specified = tasks.add(f"Specify {subject}", "specification_generation", 1)
    made = [
        tasks.add("Write the user interface", "component_generation", 4, [specified]),
        tasks.add("Write the data services", "component_generation", 4, [specified]),
        tasks.add("Write the tests", "test_execution", 3, [specified]),
    ]
    review = tasks.add("Review it", "code_linting", 1, made)
    tested = tasks.add("Run the tests", "test_execution", 1, [review])
    tasks.add("Commit it", "git_operations", 0.5, [tested])
    return tasks
