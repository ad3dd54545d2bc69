"""The plan of a project, made of its analysis by rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from orch.agents.making.components import Kind, check_of, part
from orch.agents.making.layout import Language, Layout
from orch.agents.making.projects import project_type
from orch.agents.planning.tasks import Tasks, priority_of
from orch.errors import StepError

MOST_FEATURES = 6
_UTILITIES: tuple[tuple[Kind, str], ...] = (("text", "Text"), ("validation", "Validation"))


class ExistingProject(BaseModel):
    """As `orch.agents.making.layout.Existing` tells it."""

    model_config = ConfigDict(extra="ignore")

    name: str = ""
    language: Language = "python"
    source: str = "src"
    package: str = ""


class Analysis(BaseModel):
    """What a plan reads of an analysis, whoever made that."""

    model_config = ConfigDict(extra="ignore")

    projectType: str
    projectName: str = "project"
    subject: str = "Project"
    summary: str = ""
    goals: list[str] = []
    features: list[str] = []
    complexity: str = "small"
    assumptions: list[str] = []
    risks: list[str] = []
    existing: ExistingProject | None = None

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Analysis:
        """Raises StepError `InvalidInput`."""
        try:
            return cls.model_validate(given)
        except ValidationError as exc:
            reasons = "; ".join(
                f"{'.'.join(map(str, error['loc']))}: {error['msg']}"
                for error in exc.errors(include_url=False)
            )
            raise StepError(
                "InvalidInput",
                f"`analysis` is none: {reasons}",
                hint="take the output of `project_analysis`",
            ) from None

    def layout(self) -> Layout:
        if self.existing is not None:
            found = self.existing
            return Layout(found.language, found.source, found.package)
        return Layout.of(project_type(self.projectType).language, self.projectName)


def plan_project(given: Mapping[str, Any], priority: str | int | None = None) -> dict[str, Any]:
    """What is to be scaffolded and generated for a project, and the tasks that it takes.

    given     an analysis, see `orch.agents.planning.analysis.analyse`
    priority  `low`, `medium`, `high`, `critical`, or 0 to 9

    `coreComponents` and `utilityComponents` are what `component_generation` takes, tests
    included. Raises StepError `InvalidInput`, `UnknownProjectType`.
    """
    analysis = Analysis.read(given)
    kind = project_type(analysis.projectType)
    layout = analysis.layout()
    subjects = _subjects(analysis)
    core = _with_tests([("service", subject) for subject in subjects], layout)
    utilities = _with_tests(_UTILITIES, layout)
    tasks = _tasks(analysis, subjects, Tasks(analysis.complexity, priority_of(priority)))
    left = [name for name in analysis.features if name not in subjects]
    notes = [*analysis.assumptions]
    notes += [f"for later: {', '.join(left)}"] if len(analysis.features) > MOST_FEATURES else []
    return {
        "title": f"Plan of {analysis.projectName}",
        "summary": analysis.summary,
        "projectName": analysis.projectName,
        "projectType": kind.name,
        "language": layout.language,
        "requiresScaffolding": analysis.existing is None,
        "scaffoldingOptions": {"description": analysis.summary, "goals": analysis.goals[:20]},
        "coreComponents": core,
        "utilityComponents": utilities,
        "tasks": tasks.all,
        "hours": tasks.hours,
        "priority": priority_of(priority),
        "risks": analysis.risks,
        "notes": notes,
    }


def _subjects(analysis: Analysis) -> list[str]:
    """What the core is made of: features that were recognised, else the subject itself."""
    return analysis.features[:MOST_FEATURES] or [analysis.subject]


def _with_tests(wanted: Any, layout: Layout) -> list[dict[str, Any]]:
    made = []
    for kind, subject in wanted:
        module = part(kind, subject, layout)
        check = check_of(module, layout)
        made += [module, {**check, "file": f"tests/{check['name']}"}]
    return made


def _tasks(analysis: Analysis, subjects: list[str], tasks: Tasks) -> Tasks:
    first = tasks.add("Agree on the requirements", "project_analysis", 1)
    if analysis.existing is None:
        first = tasks.add("Lay out the project", "project_scaffolding", 1, [first])
    made = [
        tasks.add(f"Write {subject[:1].lower()}{subject[1:]}", "component_generation", 4, [first])
        for subject in subjects
    ]
    made.append(tasks.add("Write the utilities", "component_generation", 2, [first]))
    review = tasks.add("Review the code", "code_linting", 1, made)
    tests = tasks.add("Test the whole", "test_execution", 2, made)
    documented = tasks.add("Document it", "documentation_review", 1, [review, tests])
    tasks.add("Deploy it", "deployment", 1, [documented])
    return tasks
