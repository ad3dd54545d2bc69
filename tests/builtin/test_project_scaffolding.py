"""New projects, looked at with the tools of their users."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from orch.agents.builtin.component_generation import component_generation
from orch.agents.builtin.project_analysis import project_analysis
from orch.agents.builtin.project_scaffolding import ScaffoldingOptions, project_scaffolding
from orch.agents.builtin.task_planning import task_planning
from orch.agents.making.projects import TYPES
from orch.errors import StepError
from tests.builtin.projects import assert_clean, assert_tested


def failure(*arguments: Any, **options: Any) -> StepError:
    with pytest.raises(StepError) as failed:
        project_scaffolding(*arguments, **options)
    return failed.value


def fill(path: str, requirements: str, **constraints: Any) -> None:
    """Generate what plans ask for: of the project, and of a feature in it."""
    analysis = project_analysis(requirements, constraints, projectPath=path)
    plan = task_planning(analysis=analysis)
    for kind in ("coreComponents", "utilityComponents"):
        component_generation(components=plan[kind], path=path)
    feature = task_planning(feature="Users can log in", projectPath=path)["specifications"]
    assert feature["requiresScaffolding"] is False
    for kind in ("uiComponents", "dataServices"):
        component_generation(components=feature[kind], path=path)
    component_generation(components=feature["tests"], path=str(Path(path, "tests")))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORCH_FILES_ROOT", str(tmp_path))
    return tmp_path


def test_what_is_generated_is_clean_and_its_tests_pass(folder: Path) -> None:
    name = "Orders & \"Invoices\" für 'alle', with quite a long name that goes on"
    options = ScaffoldingOptions(description=f'{name} \\ {{{{ x }}}} "{"long " * 60}', goals=[name])
    paths = []
    for kind in TYPES.values():
        if kind.language == "javascript" and shutil.which("node") is None:
            continue
        made = project_scaffolding(kind.name, name, path=kind.name, options=options)
        fill(made["path"], "Orders and their comments", projectType=kind.name)
        paths.append(Path(made["path"]))
    assert_clean(folder)
    for path in paths:
        assert_tested(path)


def test_a_project_lies_in_a_directory_of_its_name(folder: Path) -> None:
    made = project_scaffolding(name="Stock List")
    assert made["path"] == str(folder / "stock-list")
    assert made["created"] is True
    assert made["package"] == "stock_list"
    assert {"README.md", "pyproject.toml", ".gitignore"} <= {
        path.name for path in (folder / "stock-list").iterdir()
    }


def test_a_project_that_is_there_is_completed_and_nothing_of_it_is_lost(folder: Path) -> None:
    (folder / "app").mkdir()
    (folder / "app" / "README.md").write_text("mine")
    first = project_scaffolding(path="app")
    assert first["kept"] == [str(folder / "app" / "README.md")]
    again = project_scaffolding(path="app")
    assert again == {**first, "created": False}
    assert (folder / "app" / "README.md").read_text() == "mine"


@pytest.mark.parametrize("name", ["calendar", "test", "class", "3 D", "Überblick", "日本語"])
def test_any_name_gives_a_package_that_can_be_imported(folder: Path, name: str) -> None:
    package = project_scaffolding(name=name)["package"]
    assert package.isidentifier()
    assert package not in ("calendar", "test", "class")


def test_a_type_has_other_words_too(folder: Path) -> None:
    assert project_scaffolding("CLI", "a")["projectType"] == "python_cli"
    assert project_scaffolding("react", "b")["projectType"] == "javascript_app"


def test_an_unknown_type_is_named_with_those_that_there_are(folder: Path) -> None:
    failed = failure("cobol", "app")
    assert failed.name == "UnknownProjectType"
    assert "'cobol'" in str(failed)
    assert "python_cli" in (failed.hint or "")
    assert not (folder / "app").exists()


def test_a_project_needs_a_name_or_a_place_below_the_root(folder: Path) -> None:
    assert failure(name=" ").name == "InvalidInput"
    assert failure(path="../app").name == "PathOutsideRoot"
    (folder / "file").write_text("")
    assert failure(path="file").name == "WrongKind"
