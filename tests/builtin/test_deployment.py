"""Deployment to a directory."""

from __future__ import annotations

import http.server
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orch.agents.builtin.deployment import deployment
from orch.agents.context import Context
from orch.agents.deploying.health import HealthCheck
from orch.agents.deploying.releases import Releases
from orch.errors import StepError


@pytest.fixture(autouse=True)
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORCH_FILES_ROOT", str(tmp_path))
    path = tmp_path / "app"
    path.mkdir()
    (path / "main.py").write_text("VERSION = 1\n")
    return path


def step(name: str) -> Context:
    return Context(execution_id=name, path="deploy")


def deploy(name: str = "one", **options: Any) -> dict[str, Any]:
    return deployment("app", context=step(name), **options)


def rollback(name: str, **options: Any) -> dict[str, Any]:
    return deployment("app", operation="rollback", context=step(name), **options)


def failure(**options: Any) -> StepError:
    with pytest.raises(StepError) as failed:
        deployment(**{"path": "app", **options})
    return failed.value


def deployed(tmp_path: Path) -> str:
    return (tmp_path / "deployments/app/development/current/main.py").read_text()


def test_a_release_is_deployed_and_the_next_one_takes_its_place(app: Path, tmp_path: Path) -> None:
    first = deploy("one")
    assert first["url"] == (tmp_path / "deployments/app/development/current").as_uri()
    assert first["release"].startswith("0001-")
    (app / "main.py").write_text("VERSION = 2\n")
    second = deploy("two")
    assert deployed(tmp_path) == "VERSION = 2\n"
    assert second["previous"] == first["release"]
    assert second["releases"] == [first["release"], second["release"]]
    assert first["digest"] != second["digest"]


def test_a_step_that_runs_again_makes_no_further_release(app: Path) -> None:
    first = deploy("one")
    (app / "main.py").write_text("VERSION = 2\n")
    again = deploy("one")
    assert again["changed"] is False
    assert (again["release"], again["digest"]) == (first["release"], first["digest"])


def test_an_attempt_that_died_in_the_middle_is_completed(app: Path, tmp_path: Path) -> None:
    place = tmp_path / "deployments/app/development"
    releases = Releases(place)
    with releases.locked(step("one")):
        made = releases.add(app, step("one").idempotency_key, [], step("one"))
        releases.note(step("one").idempotency_key, "deploy", made.name, None)
    assert not (place / "current").exists()
    assert deploy("one")["release"] == made.name
    assert deployed(tmp_path) == "VERSION = 1\n"


def test_a_rollback_goes_back_by_one_however_often_it_runs(app: Path, tmp_path: Path) -> None:
    names = []
    for number in (1, 2, 3):
        (app / "main.py").write_text(f"VERSION = {number}\n")
        names.append(deploy(str(number))["release"])
    for _ in range(2):
        assert rollback("back")["release"] == names[1]
    assert deployed(tmp_path) == "VERSION = 2\n"
    assert rollback("further", release=names[0])["release"] == names[0]
    assert deployment("app", operation="status")["release"] == names[0]


def test_there_must_be_a_release_to_go_back_to() -> None:
    failed = failure(operation="rollback")
    assert failed.name == "NoRelease"
    assert "there are: none" in str(failed)
    deploy()
    assert failure(operation="rollback", release="0009-abc").name == "NoRelease"


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (HealthCheck(), "sources: main.py: "),
        (HealthCheck(sources=False, file="index.html"), "there is no 'index.html'"),
        (
            HealthCheck(sources=False, command=[sys.executable, "-c", "raise SystemExit('no')"]),
            "ended with exit code 1: no",
        ),
    ],
)
def test_a_release_that_is_not_well_is_refused_and_the_old_one_stays(
    app: Path, tmp_path: Path, check: HealthCheck, said: str
) -> None:
    good = deploy("good")
    (app / "main.py").write_text("VERSION =\n")
    failed = failure(healthCheck=check)
    assert failed.name == "DeploymentUnhealthy"
    assert said in str(failed)
    assert deployed(tmp_path) == "VERSION = 1\n"
    assert deployment("app", operation="status")["releases"] == [good["release"]]


@pytest.fixture
def service() -> Iterator[tuple[str, list[int]]]:
    statuses = [200]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses[-1])
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", statuses
        server.shutdown()
        thread.join()


def test_a_service_that_does_not_answer_brings_the_old_release_back(
    app: Path, tmp_path: Path, service: tuple[str, list[int]]
) -> None:
    url, statuses = service
    deploy("good", healthCheck=HealthCheck(url=url))
    (app / "main.py").write_text("VERSION = 2\n")
    statuses.append(503)
    failed = failure(healthCheck=HealthCheck(url=url, timeout=0.3))
    assert "url: it answers 503" in str(failed)
    assert deployed(tmp_path) == "VERSION = 1\n"
    assert os.listdir(tmp_path / "deployments/app/development/releases") == [
        deployment("app", operation="status")["release"]
    ]


def test_the_health_of_what_is_deployed_can_be_asked_for(app: Path) -> None:
    assert deployment("app", operation="status")["healthy"] is False
    deploy()
    assert deployment("app", operation="status")["healthy"] is True
    wanted = HealthCheck(file="index.html")
    found = deployment("app", operation="status", healthCheck=wanted)
    assert found["healthy"] is False
    assert [check["passed"] for check in found["checks"]] == [True, False]


def test_old_releases_are_dropped_and_their_numbers_are_not_used_again(app: Path) -> None:
    for number in range(1, 4):
        made = deploy(str(number), keep=1)
    assert [name[:4] for name in made["releases"]] == ["0003"]
    assert len(made["removed"]) == 1


def test_hidden_and_generated_files_stay_behind(app: Path, tmp_path: Path) -> None:
    for name in (".git/config", ".env", "node_modules/a/a.js", "secret/key", "src/a.js"):
        (app / name).parent.mkdir(parents=True, exist_ok=True)
        (app / name).write_text("")
    (app / "link").symlink_to("src")
    deploy(exclude=["secret"])
    current = tmp_path / "deployments/app/development/current"
    assert sorted(os.listdir(current)) == ["link", "main.py", "src"]
    assert os.readlink(current / "link") == "src"


def test_a_target_within_the_project_is_not_deployed_into_itself(app: Path) -> None:
    made = deploy(target="app/out")
    assert sorted(os.listdir(made["path"])) == ["main.py"]
    assert sorted(os.listdir(deploy("two", target="app/out")["path"])) == ["main.py"]


def test_a_link_out_of_the_project_is_an_error(app: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("secret")
    (app / "link").symlink_to("../outside")
    failed = failure()
    assert failed.name == "PathOutsideRoot"
    assert "`exclude`" in (failed.hint or "")


def test_wrong_inputs_are_said(tmp_path: Path) -> None:
    assert failure(path="nowhere").name == "FileNotFound"
    assert failure(path="../..").name == "PathOutsideRoot"
    assert failure(target="/elsewhere").name == "PathOutsideRoot"
    assert failure(environment="../up").name == "InvalidInput"
    (tmp_path / "empty").mkdir()
    assert failure(path="empty").name == "NothingToDeploy"
    (tmp_path / "file").write_text("")
    assert failure(target="file").name == "WrongKind"


def test_what_is_known_of_the_past_is_json(tmp_path: Path) -> None:
    deploy()
    state = tmp_path / "deployments/app/development/state.json"
    history = json.loads(state.read_text())["history"]
    assert [entry["action"] for entry in history] == ["deployed"]
    state.write_text("[")
    assert failure().name == "NotReadable"
