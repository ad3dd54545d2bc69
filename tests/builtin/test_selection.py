"""Which files paths, directories and patterns mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from orch.agents.code.selection import PYTHON, braces, select
from orch.errors import StepError


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in (
        "a.py",
        "b.js",
        "src/c.ts",
        "src/deep/d.test.js",
        "src/e.txt",
        "node_modules/x.js",
        ".venv/y.py",
        "[odd].py",
    ):
        file = tmp_path / "app" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    return tmp_path / "app"


def found(project: Path, wanted: str | list[str], **options: bool) -> list[str]:
    files = select(wanted, PYTHON, base=project, **options).files
    return [file.relative_to(project).as_posix() for file in files]


def refused(name: str, project: Path, wanted: str | list[str]) -> StepError:
    with pytest.raises(StepError) as failed:
        select(wanted, PYTHON, base=project)
    assert failed.value.name == name
    return failed.value


def test_braces_are_alternatives() -> None:
    assert braces("**/*.{js,ts}") == ["**/*.js", "**/*.ts"]
    assert braces("{a,b{1,2}}.py") == ["a.py", "b1.py", "b2.py"]
    assert braces("{a}-{b,c}") == ["{a}-b", "{a}-c"]
    assert braces("{a,b") == ["{a,b"]


def test_a_pattern_reaches_into_directories_but_not_into_what_others_wrote(project: Path) -> None:
    assert found(project, "**/*.{js,ts}") == ["b.js", "src/c.ts", "src/deep/d.test.js"]
    assert found(project, "src/*.ts") == ["src/c.ts"]
    assert found(project, "src/**/*.test.?s") == ["src/deep/d.test.js"]
    assert found(project, str(project / "[a-b].*")) == ["a.py", "b.js"]
    assert found(project, "[!a].js") == ["b.js"]


def test_a_directory_means_its_files_of_a_kind(project: Path) -> None:
    assert found(project, str(project)) == ["[odd].py", "a.py"]


def test_a_path_that_is_there_is_no_pattern(project: Path) -> None:
    assert found(project, "[odd].py") == ["[odd].py"]


def test_each_file_comes_once(project: Path) -> None:
    assert found(project, ["a.py", "*.py", "."]) == ["[odd].py", "a.py"]


def test_what_is_not_there_is_an_error_unless_it_may_be_missing(project: Path) -> None:
    assert "'gone.py'" in refused("FileNotFound", project, ["a.py", "gone.py"]).message
    assert "*.rb" in refused("NoFiles", project, "**/*.rb").message
    refused("NoFiles", project, [])
    refused("InvalidInput", project, "")
    assert found(project, ["a.py", "gone.py"], allow_empty=True) == ["a.py"]
    assert select("gone.py", PYTHON, base=project, allow_empty=True).missing == ("gone.py",)


def test_nothing_leads_out_of_the_root(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.parent / "secret.py").write_text("")
    (project / "link.py").symlink_to(project.parent / "secret.py")
    monkeypatch.setenv("ORCH_FILES_ROOT", str(project))
    assert "link.py" not in found(project, "*.py")
    assert "link.py" not in found(project, ".")
    for path in ("../secret.py", "link.py", "../*.py", "src/../../{secret,x}.py"):
        refused("PathOutsideRoot", project, path)
