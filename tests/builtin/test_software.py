"""`project_setup` and `implement_feature`, as their users run them: from the first to the last
step, by the command line, on a directory that is empty but for the input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch.orchestrator import Orchestrator
from orch.settings import Settings
from tests.builtin.projects import assert_clean, assert_tested, run

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def orch(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: v for name, v in os.environ.items() if not name.startswith("ORCH_")}
    environment |= {"PYTHONPATH": str(ROOT), "ORCH_FILES_ROOT": str(folder)}
    command = [sys.executable, "-m", "orch", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=110
    )


def completed(folder: Path, workflow: str, given: dict[str, Any]) -> dict[str, Any]:
    """The result of an execution, which must have completed."""
    (folder / "input.json").write_text(json.dumps(given))
    ended = orch(folder, "run", workflow, "--input-file", "input.json", "--json")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = json.loads(ended.stdout)
    assert told["status"] == "completed"
    return dict(told["output"])


def commits(project: Path) -> list[str]:
    """The subjects of all commits, the latest first; nothing may be left to commit."""
    assert run(project, "git", "status", "--porcelain") == ""
    return run(project, "git", "log", "--format=%s").splitlines()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_project_is_set_up_and_gets_a_feature(tmp_path: Path) -> None:
    given = json.loads((EXAMPLES / "project_setup.json").read_text())
    made = completed(tmp_path, "project_setup", given)
    project = tmp_path / "corner-shop"
    assert made["projectPath"] == str(project)
    assert made["repositoryUrl"] == project.as_uri()
    assert made["testResults"]["failed"] == 0 < made["testResults"]["passed"]
    assert commits(project) == ["Set up corner-shop"]
    assert_clean(project)
    current = tmp_path / "deployments/corner-shop/development/current"
    assert made["deploymentUrl"] == current.as_uri()
    assert (current / "src/corner_shop/inventory_service.py").exists()
    assert not (current / ".git").exists()

    given = json.loads((EXAMPLES / "implement_feature.json").read_text())
    feature = completed(tmp_path, "implement_feature", given)
    assert feature["testResults"]["passed"] is True
    assert commits(project) == ["Feature: Search for products", "Set up corner-shop"]
    assert feature["commitHash"] == run(project, "git", "rev-parse", "HEAD").strip()
    assert (project / "src/corner_shop/services/search_service.py").exists()
    assert_clean(project)
    assert_tested(project)
    assert len(list((tmp_path / "pages").glob("*.md"))) == 2


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node")
def test_a_feature_makes_a_project_where_there_is_none_and_harms_none(
    tmp_path: Path, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        "feature": "User Authentication",
        "constraints": {"authorization": "JWT", "framework": "React with hooks"},
        "projectPath": "app",
    }
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORCH_FILES_ROOT", str(tmp_path))
    project = tmp_path / "app"
    with Orchestrator(settings) as orchestrator, orchestrator.workers(log=tmp_path / "log"):
        first = orchestrator.start_workflow("implement_feature", given).wait(timeout=60)
        assert first.status == "completed"
        assert commits(project) == ["Feature: User Authentication"]
        assert_tested(project)

        view = project / "src/components/userAuthenticationView.js"
        view.write_text(f"{view.read_text()}// by hand\n")
        again = orchestrator.start_workflow("implement_feature", given).wait(timeout=60)
        assert again.output["commitHash"] != first.output["commitHash"]
        assert view.read_text().endswith("// by hand\n")

        (project / "tests/bad.test.js").write_text("throw new Error('it breaks');\n")
        failed = orchestrator.start_workflow("implement_feature", given).wait(timeout=60)
        assert failed.status == "failed"
        assert failed.error["name"] == "TestsFailed"
    assert run(project, "git", "rev-parse", "HEAD").strip() == again.output["commitHash"]
    assert any("TestsFailed" in page.read_text() for page in (tmp_path / "pages").glob("*.md"))
