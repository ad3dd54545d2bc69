"""Repositories, by the real git."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from orch.agents.builtin.git_operations import git_operations
from orch.errors import StepError


@pytest.fixture(autouse=True)
def _no_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "app"
    git_operations(str(path), initialize=True)
    return path


def commit(path: Path, message: str = "More", **options: Any) -> dict[str, Any]:
    return git_operations(str(path), commitMessage=message, **options)


def failure(name: str, path: Path, **options: Any) -> StepError:
    with pytest.raises(StepError) as failed:
        git_operations(str(path), **options)
    assert failed.value.name == name
    return failed.value


def author(path: Path) -> str:
    shown = subprocess.run(
        ["git", "-C", str(path), "log", "-1", "--format=%an <%ae>"], capture_output=True, text=True
    )
    return shown.stdout.strip()


def test_a_repository_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "app"
    made = git_operations(str(path), initialize=True)
    assert made == {
        "path": str(path),
        "url": path.as_uri(),
        "hash": None,
        "branch": "main",
        "changed": True,
    }
    assert git_operations(str(path), initialize=True) == {**made, "changed": False}


def test_a_commit_works_where_nobody_is_configured(repository: Path) -> None:
    (repository / "a").write_text("1")
    made = commit(repository, "Feature: a; rm -rf b")
    assert made["changed"] is True
    assert author(repository) == "orch <orch@localhost>"
    log = git_operations(str(repository), operation="log")["commits"]
    assert [(entry["hash"], entry["message"]) for entry in log] == [
        (made["hash"], "Feature: a; rm -rf b")
    ]


def test_a_configured_author_is_kept(repository: Path) -> None:
    subprocess.run(["git", "-C", str(repository), "config", "user.name", "Ada"], check=True)
    (repository / "a").write_text("1")
    commit(repository)
    assert author(repository) == "Ada <orch@localhost>"


def test_a_commit_that_runs_again_changes_nothing(repository: Path) -> None:
    (repository / "a").write_text("1")
    first = commit(repository)
    assert commit(repository) == {**first, "changed": False}


def test_an_empty_repository_with_nothing_to_commit_has_no_hash(repository: Path) -> None:
    assert commit(repository)["hash"] is None
    assert git_operations(str(repository), operation="log")["commits"] == []


def test_only_the_files_that_are_named_are_committed(repository: Path) -> None:
    for name in ("a", "*", "-b"):
        (repository / name).write_text("1")
    commit(repository, files=["*", "-b"])
    status = git_operations(str(repository))
    assert status["files"] == [{"status": "??", "path": "a"}]
    (repository / "-b").unlink()
    assert commit(repository, files=["-b"])["changed"] is True
    assert (
        "did not match any file"
        in failure("GitFailed", repository, commitMessage="x", files=["missing"]).message
    )


def test_a_repository_can_be_made_and_committed_in_one_step(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    made = git_operations(str(tmp_path), initialize=True, commitMessage="First")
    assert (made["changed"], made["branch"]) == (True, "main")
    assert made["hash"]


def test_a_clone_is_made_once_and_tells_its_origin(repository: Path, tmp_path: Path) -> None:
    (repository / "a").write_text("1")
    made = commit(repository)
    copy = tmp_path / "copy"
    cloned = git_operations(str(copy), url=str(repository))
    assert cloned == {**made, "path": str(copy), "url": str(repository), "changed": True}
    assert (copy / "a").read_text() == "1"
    assert git_operations(str(copy), url=str(repository)) == {**cloned, "changed": False}
    assert "another repository" in failure("GitFailed", copy, url="/elsewhere").message


def test_an_address_is_never_an_option(tmp_path: Path) -> None:
    url = f"--upload-pack=touch {tmp_path}/owned"
    failure("GitFailed", tmp_path / "copy", url=url)
    failure("GitFailed", tmp_path / "copy", url=f"ext::touch {tmp_path}/owned")
    failure("InvalidInput", tmp_path / "copy", url="x", branch="--bare")
    assert not (tmp_path / "owned").exists()


def test_branches_are_made_and_gone_to(repository: Path) -> None:
    (repository / "a").write_text("1")
    commit(repository)
    path = str(repository)
    assert git_operations(path, operation="branch", branch="old")["branches"] == ["main", "old"]
    assert git_operations(path, operation="branch", branch="old")["changed"] is False
    for name in ("new", "old"):
        assert git_operations(path, operation="checkout", branch=name)["branch"] == name
        assert git_operations(path, operation="checkout", branch=name)["changed"] is False
    assert git_operations(path, operation="branch")["branches"] == ["main", "new", "old"]


def test_faults_say_what_git_said(repository: Path, tmp_path: Path) -> None:
    failure("FileNotFound", tmp_path / "missing", operation="status")
    failure("InvalidInput", repository, operation="commit")
    failure("InvalidInput", repository, operation="clone")
    failure("InvalidInput", repository, operation="checkout")
    (tmp_path / "plain").mkdir()
    failed = failure("GitFailed", tmp_path / "plain", commitMessage="x")
    assert "not a git repository" in failed.message
    assert failed.data["exit_code"] == 128


def test_a_machine_without_git_says_so(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert "no `git` on this worker" in failure("GitMissing", repository).message
