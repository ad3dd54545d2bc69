"""What is dangerous is found, and secrets are not told on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orch.agents.builtin.security_scanning import security_scanning
from orch.errors import StepError

TOKEN = "gh" + "p_" + "A1b2" * 10


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "run.py").write_text(
        "import subprocess\n\n\ndef run(command):\n    subprocess.call(command, shell=True)\n"
    )
    return tmp_path / "app"


def codes(output: dict[str, Any]) -> list[str]:
    return [issue["code"] for issue in output["issues"]]


def test_dangerous_calls_are_found(app: Path) -> None:
    output = security_scanning(str(app))
    assert (output["passed"], codes(output)) == (False, ["B404", "B602"])
    assert codes(security_scanning(str(app), severity="high")) == ["B602"]
    (app / "run.py").write_text("import subprocess\n")
    assert security_scanning(str(app))["passed"]


def test_secrets_are_found_in_any_file_and_never_repeated(app: Path) -> None:
    (app / "deploy.sh").write_text(f"export A=1\ncurl -H 'Authorization: {TOKEN}' x\n")
    (app / "settings.py").write_text('URL = "postgres://app:correct-horse@db/x"\n')
    (app / "more.py").write_text('password = "battery-staple-42"\n')
    output = security_scanning(str(app), files="*.{sh,py}")
    said = json.dumps(output)
    assert not any(word in said for word in (TOKEN, "correct-horse", "battery-staple"))
    found = {(Path(i["file"]).name, i["line"], i["code"]) for i in output["issues"]}
    assert {("deploy.sh", 2, "secret"), ("settings.py", 1, "secret")} <= found
    assert ("more.py", 1, "B105") in found
    assert not {"secret"} & {*codes(security_scanning(str(app), secrets=False))}


def test_an_assert_is_no_danger_in_a_test(app: Path) -> None:
    for name in ("test_run.py", "other.py"):
        (app / name).write_text("assert True\n")
    output = security_scanning(files=[str(app / "test_run.py"), str(app / "other.py")])
    assert [Path(issue["file"]).name for issue in output["issues"]] == ["other.py"]


def test_a_file_that_cannot_be_read_is_said_to_be_skipped(app: Path) -> None:
    (app / "bad.py").write_text("def f(:\n")
    output = security_scanning(str(app))
    assert [Path(entry["file"]).name for entry in output["skipped"]] == ["bad.py"]


def test_faults_have_names(app: Path) -> None:
    for name, given in {
        "FileNotFound": {"path": str(app / "gone")},
        "NoFiles": {"path": str(app), "files": "*.js"},
    }.items():
        with pytest.raises(StepError) as failed:
            security_scanning(**given)
        assert failed.value.name == name
