"""What the settings of a worker let its capabilities reach."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orch.agents.builtin.command_execution import command_execution
from orch.agents.builtin.git_operations import git_operations
from orch.agents.files import resolve
from orch.agents.permissions import permissions, permit
from orch.errors import StepError
from orch.settings import Settings

TELL = [sys.executable, "-c", "import os, json; print(json.dumps([os.getcwd(), dict(os.environ)]))"]


def failure(*arguments: object, **options: object) -> StepError:
    with pytest.raises(StepError) as failed:
        command_execution(*arguments, **options)  # type: ignore[arg-type]
    return failed.value


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    monkeypatch.setenv("ORCH_FILES_ROOT", str(path))
    return path


def test_a_command_does_not_see_the_secrets_of_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_REDIS_URL", "redis://:hush@127.0.0.1:1/0")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("LC_TIME", "C")
    found = command_execution(TELL, env={"MINE": "given"})["result"]
    assert "hush" not in found
    assert '"MINE": "given"' in found
    assert '"LC_TIME": "C"' in found
    assert '"PATH"' in found


def test_the_settings_name_what_commands_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLOUR", "red")
    monkeypatch.setenv("SHADE_1", "dark")
    monkeypatch.setenv("ORCH_COMMAND_ENVIRONMENT", "COLOUR, SHADE_*")
    found = command_execution(TELL)["result"]
    assert '"COLOUR": "red"' in found
    assert '"SHADE_1": "dark"' in found
    assert '"HOME"' not in found


def test_a_command_runs_in_the_root_of_files_or_below_it(root: Path) -> None:
    (root / "deep").mkdir()
    assert f'["{root}"' in command_execution(TELL)["result"]
    assert f'["{root / "deep"}"' in command_execution(TELL, cwd="deep")["result"]


@pytest.mark.parametrize("cwd", ["..", "/", "link"])
def test_a_command_cannot_run_outside_of_the_root(root: Path, cwd: str) -> None:
    (root / "link").symlink_to(root.parent)
    assert failure(TELL, cwd=cwd).name == "PathOutsideRoot"


def test_no_shell_runs_where_the_settings_forbid_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_SHELL", "false")
    for command in ("echo hello", ["sh", "-c", "echo hello"], ["/bin/bash", "-c", "true"]):
        failed = failure(command)
        assert failed.name == "ShellForbidden"
        assert "as a list" in (failed.hint or "")
    assert command_execution(["echo", "hello"])["result"] == "hello\n"


def test_a_clone_from_this_machine_comes_from_below_the_root(root: Path) -> None:
    git_operations(str(root.parent / "root" / "ours"), initialize=True)
    for url in ("../theirs", f"file://{root.parent}/theirs", str(root.parent / "theirs")):
        with pytest.raises(StepError) as failed:
            git_operations("copy", url=url)
        assert failed.value.name == "PathOutsideRoot"
    assert git_operations("copy", url=str(root / "ours"))["path"] == str(root / "copy")


def test_a_repository_around_the_root_is_not_found(root: Path) -> None:
    git_operations(str(root), initialize=True)
    assert (root / ".git").exists()
    inner = root / "inner"
    inner.mkdir()
    permit(Settings(files_root=inner))
    with pytest.raises(StepError) as failed:
        git_operations(str(inner), operation="status")
    assert failed.value.name == "GitFailed"


def test_what_a_worker_permits_counts_whatever_the_environment_says(
    root: Path, tmp_path: Path
) -> None:
    assert permissions().files_root == str(root)
    permit(Settings(files_root=tmp_path / "other", shell=False))
    assert resolve("file") == tmp_path / "other" / "file"
    assert failure("echo hello").name == "ShellForbidden"
    permit(None)
    assert resolve("file") == root / "file"


def test_an_empty_root_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_FILES_ROOT", "")
    assert permissions().files_root is None
