"""Code that is reviewed: issues are an output, whoever found them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from orch.agents.builtin.code_linting import code_linting
from orch.agents.capability import get
from orch.agents.context import Context
from orch.errors import StepError

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node.js")


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "good.py").write_text('"""Good."""\n\nx = 1\n')
    return tmp_path / "app"


def issues(output: dict[str, Any]) -> list[tuple[str, int, str]]:
    return [(Path(i["file"]).name, i["line"], i["code"]) for i in output["issues"]]


def test_python_is_reviewed_by_rules(app: Path) -> None:
    (app / "bad.py").write_text("import os\n\nprint(nobody)\n")
    (app / "broken.py").write_text("def f(:\n")
    output = code_linting(str(app), rules=["F"])
    assert ("bad.py", 1, "F401") in issues(output)
    assert ("bad.py", 3, "F821") in issues(output)
    assert ("broken.py", 1, "syntax") in issues(output)
    assert (output["passed"], output["files"], output["fixable"]) == (False, 3, 1)
    assert output["counts"]["error"] == output["total"] - 1
    assert issues(code_linting(str(app / "bad.py"), rules=["F"], ignore=["F821"])) == [
        ("bad.py", 1, "F401")
    ]


def test_code_without_issues_passes_and_nothing_is_left_behind(app: Path) -> None:
    output = code_linting(f"{app}/**/*.{{py,js}}", checkFormat=True)
    assert (output["passed"], output["issues"], output["files"]) == (True, [], 1)
    assert [file.name for file in app.iterdir()] == ["good.py"]


def test_the_layout_is_an_issue_where_it_is_asked_for(app: Path) -> None:
    (app / "bad.py").write_text('"""Bad."""\nx=1\n')
    assert issues(code_linting(str(app), checkFormat=True)) == [("bad.py", 0, "format")]
    assert code_linting(str(app))["passed"]


def test_the_configuration_of_the_project_counts(app: Path) -> None:
    (app / "ruff.toml").write_text('[lint]\nselect = ["E501"]\n')
    (app / "long.py").write_text(f'x = "{"a" * 100}"\nimport os\n')
    assert issues(code_linting(str(app))) == [("long.py", 1, "E501")]


@needs_node
def test_javascript_is_reviewed_as_node_would_read_it(app: Path) -> None:
    (app / "module.js").write_text('import x from "./x.js";\nexport const a = await x;\n')
    (app / "script.js").write_text('const fs = require("fs");\nmodule.exports = { fs };\n')
    (app / "bad.js").write_text("export const a = 1;\nexport const b = ;\n")
    (app / "view.tsx").write_text("const a = <b/>;\n")
    output = code_linting(f"{app}/**/*.{{js,ts,jsx,tsx}}")
    (found,) = output["issues"]
    assert (Path(found["file"]).name, found["line"], found["column"]) == ("bad.js", 2, 18)
    assert found["message"] == "Unexpected token ';'"
    assert [Path(entry["file"]).name for entry in output["skipped"]] == ["view.tsx"]
    (app / "package.json").write_text('{"type": "commonjs"}')
    assert issues(code_linting(str(app / "module.js"))) == [("module.js", 1, "syntax")]


def test_javascript_is_said_to_be_skipped_without_node(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (app / "bad.js").write_text("const = ;\n")
    monkeypatch.setenv("PATH", str(app))
    output = code_linting([str(app / "bad.js"), str(app / "good.py")])
    assert (output["passed"], output["files"]) == (True, 1)
    assert output["skipped"][0]["reason"] == "there is no `node` on this worker"


def test_a_project_cannot_put_its_own_modules_in_place_of_the_linters(app: Path) -> None:
    for name in ("ruff", "json", "os"):
        (app / f"{name}.py").write_text("raise SystemExit('mine')\n")
    assert code_linting(str(app), rules=["F821"])["passed"]


def test_faults_have_names(app: Path) -> None:
    for name, given in {
        "FileNotFound": {"files": [str(app / "gone")]},
        "NoFiles": {"files": f"{app}/**/*.js"},
        "ToolFailed": {"files": str(app), "rules": ["NOPE1"]},
        "InvalidInput": {"files": ""},
    }.items():
        capability = get("code_linting")
        assert capability is not None
        with pytest.raises(StepError) as failed:
            capability.call(given, Context())
        assert failed.value.name == name, failed.value
    output = code_linting([str(app / "gone"), str(app)], allowEmpty=True)
    assert output["skipped"] == [{"file": str(app / "gone"), "reason": "not there"}]
