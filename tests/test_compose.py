"""``docker-compose.yml`` and the ``Dockerfile``: they are right, and fit the package."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
COMPOSE = ROOT / "docker-compose.yml"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text())


@pytest.fixture(scope="module")
def workers(compose: dict[str, Any]) -> dict[str, list[str]]:
    """The argument list of every service that is a worker."""
    commands = {name: _arguments(service) for name, service in compose["services"].items()}
    return {name: words for name, words in commands.items() if _is_worker(words)}


def test_the_file_obeys_the_compose_specification(compose: dict[str, Any]) -> None:
    schema = json.loads((ROOT / "tests" / "compose-spec.json").read_text())
    errors = jsonschema.Draft201909Validator(schema).iter_errors(compose)
    assert [f"{error.json_path}: {error.message}" for error in errors] == []


def test_workers_serve_exactly_the_built_in_capabilities(workers: dict[str, list[str]]) -> None:
    served = [queue for words in workers.values() for queue in _queues(words)]
    assert sorted(served) == sorted(_builtin_capabilities())


def test_worker_commands_name_options_that_celery_has(workers: dict[str, list[str]]) -> None:
    from celery.bin.worker import worker

    known = {name for parameter in worker.params for name in parameter.opts}
    for service, words in workers.items():
        options = {word for word in words[words.index("worker", 3) :] if word.startswith("-")}
        assert options <= known, service
        assert {"--without-gossip", "--without-mingle"} <= options, service


def test_workers_can_be_scaled(compose: dict[str, Any], workers: dict[str, list[str]]) -> None:
    assert workers
    for name in workers:
        service = compose["services"][name]
        assert not {"container_name", "ports", "hostname"} & service.keys(), name
        assert not {"-n", "--hostname"} & set(workers[name]), name


def test_every_process_of_ours_waits_for_redis_and_is_told_where_it_is(
    compose: dict[str, Any],
) -> None:
    for name, service in _ours(compose).items():
        assert service["depends_on"] == {"redis": {"condition": "service_healthy"}}, name
        assert service["environment"]["ORCH_REDIS_URL"] == "redis://redis:6379/0", name


def test_the_environment_names_variables_that_the_package_reads(compose: dict[str, Any]) -> None:
    from orch.settings import Settings

    known = {f"ORCH_{field.upper()}" for field in Settings.model_fields}
    known |= {  # those of single capabilities
        name
        for file in (ROOT / "orch/agents").rglob("*.py")
        for name in re.findall(r'"(ORCH_[A-Z_]+)"', file.read_text())
    }
    for name, service in _ours(compose).items():
        given = {key for key in service["environment"] if key.startswith("ORCH_")}
        assert given <= known, name


def test_everything_that_serves_comes_back_by_itself(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        if "profiles" not in service:
            assert service["restart"] == "unless-stopped", name


def test_redis_keeps_what_it_is_given(compose: dict[str, Any]) -> None:
    redis = compose["services"]["redis"]
    words = redis["command"]
    options = dict(zip(words[1::2], words[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"
    assert "redis:/data" in redis["volumes"]
    assert redis["healthcheck"]["test"]


def test_only_flower_is_published_and_it_asks_for_a_password(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert [name for name, service in services.items() if service.get("ports")] == ["flower"]
    assert services["flower"]["environment"]["FLOWER_BASIC_AUTH"].startswith(
        "${FLOWER_BASIC_AUTH:?"
    )


def test_named_volumes_are_declared(compose: dict[str, Any]) -> None:
    used = {
        volume.split(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
    }
    assert used == compose["volumes"].keys()


def test_the_image_is_tagged_with_the_version_of_the_package(compose: dict[str, Any]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {service["image"] for service in _ours(compose).values()} == {f"orch:{version}"}


def test_what_the_image_copies_exists_and_may_enter_the_build() -> None:
    sources = [
        word
        for instruction in _instructions("COPY")
        if not instruction.startswith("--from")
        for word in instruction.split()[:-1]
    ]
    assert {"orch", "worker.py", "beat.py", "requirements.lock"} <= set(sources)
    allowed = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert set(sources) <= allowed


def test_the_image_runs_as_an_ordinary_user_from_hashed_packages() -> None:
    assert _instructions("USER") == ["orch"]
    installs = [run for run in _instructions("RUN") if "pip install" in run]
    for install in re.findall(r"pip install (.*?)(?:&&|$)", " ".join(installs)):
        assert "--require-hashes" in install or "--no-deps --no-index" in install


def test_compose_itself_accepts_the_file() -> None:
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run([docker, "compose", "version"], capture_output=True).returncode
    ):
        pytest.skip("Docker with the compose plugin is not installed here")
    command = [docker, "compose", "--file", str(COMPOSE), "config", "--quiet"]
    environment = {**os.environ, "FLOWER_BASIC_AUTH": "name:password"}
    accepted = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert accepted.returncode == 0, accepted.stderr
    environment["FLOWER_BASIC_AUTH"] = ""
    refused = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert "FLOWER_BASIC_AUTH" in refused.stderr


def _ours(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: service for name, service in compose["services"].items() if "build" in service}


def _arguments(service: dict[str, Any]) -> list[str]:
    command = service.get("command", [])
    return shlex.split(command) if isinstance(command, str) else command


def _is_worker(words: list[str]) -> bool:
    return words[:4] == ["celery", "-A", "worker", "worker"]


def _queues(words: list[str]) -> list[str]:
    return words[words.index("-Q") + 1].split(",")


def _builtin_capabilities() -> set[str]:
    """The names in ``@capability("…")``, read without running anything."""
    names = set()
    for file in (ROOT / "orch/agents/builtin").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(
                    func=ast.Name(id="capability") | ast.Attribute(attr="capability"),
                    args=[ast.Constant(value=str(name)), *_],
                ):
                    names.add(name)
    return names


def _instructions(word: str) -> list[str]:
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    return [line.split(None, 1)[1] for line in text.splitlines() if line.startswith(f"{word} ")]
