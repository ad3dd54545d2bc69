"""The manifests of `deploy/`: they fit their schemas, the compose file and each other."""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
KUBERNETES = sorted((ROOT / "deploy/kubernetes").glob("*.yaml"))
KEDA = sorted((ROOT / "deploy/keda").glob("*.yaml"))
RELEASES = ("1.28", "1.31", "1.36")

TEXT, WHOLE = {"type": "string"}, {"type": "integer", "minimum": 0}


def shape(required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


SCALED_OBJECT = shape(
    # Of KEDA's ScaledObject, keda.sh/v1alpha1, what is used here; the values of a trigger's
    # metadata are texts, and its `metadata` and `type` are required, as the definition has it.
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "keda.sh/v1alpha1"},
    kind={"const": "ScaledObject"},
    metadata=shape(["name"], name=TEXT),
    spec=shape(
        ["scaleTargetRef", "triggers"],
        scaleTargetRef=shape(["name"], name=TEXT),
        pollingInterval=WHOLE,
        cooldownPeriod=WHOLE,
        minReplicaCount=WHOLE,
        maxReplicaCount=WHOLE,
        fallback=shape(["failureThreshold", "replicas"], failureThreshold=WHOLE, replicas=WHOLE),
        advanced=shape(
            [],
            horizontalPodAutoscalerConfig=shape(
                [],
                behavior=shape([], scaleDown=shape([], stabilizationWindowSeconds=WHOLE)),
            ),
        ),
        triggers={
            "type": "array",
            "minItems": 1,
            "items": shape(
                ["metadata", "type"],
                type={"const": "metrics-api"},
                metricType={"enum": ["AverageValue", "Value"]},
                metadata=shape(
                    ["url", "valueLocation", "targetValue"],
                    url=TEXT,
                    valueLocation=TEXT,
                    targetValue=TEXT,
                ),
            ),
        },
    ),
)


def documents(*files: Path) -> list[dict[str, Any]]:
    return [document for file in files for document in yaml.safe_load_all(file.read_text())]


def deployments() -> dict[str, dict[str, Any]]:
    found = documents(*KUBERNETES)
    return {each["metadata"]["name"]: each for each in found if each["kind"] == "Deployment"}


def container(deployment: dict[str, Any]) -> dict[str, Any]:
    (only,) = deployment["spec"]["template"]["spec"]["containers"]
    return only


def queues(words: list[str]) -> list[str]:
    return words[words.index("-Q") + 1].split(",")


def workers() -> dict[str, list[str]]:
    """Name of a deployment of workers -> what they serve."""
    return {
        name: queues(container(each)["args"])
        for name, each in deployments().items()
        if "-Q" in container(each)["args"]
    }


@pytest.mark.parametrize("file", KUBERNETES, ids=lambda file: file.stem)
@pytest.mark.parametrize("release", RELEASES)
def test_the_manifests_fit_the_schemas_of_kubernetes(file: Path, release: str) -> None:
    for document in documents(file):
        kubernetes_validate.validate(document, release, strict=True)


@pytest.mark.parametrize("file", KEDA, ids=lambda file: file.stem)
def test_the_manifests_of_keda_fit_theirs(file: Path) -> None:
    for document in documents(file):
        jsonschema.validate(document, SCALED_OBJECT)


def test_workers_serve_what_those_of_the_compose_file_serve() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    commands = {name: service.get("command", "") for name, service in services.items()}
    theirs = {
        f"orch-{name}": queues(shlex.split(command))
        for name, command in commands.items()
        if isinstance(command, str) and "-Q" in command
    }
    assert workers() == theirs


def test_each_deployment_of_workers_is_scaled_by_its_own_queues() -> None:
    found = {}
    for document in documents(*KEDA):
        (trigger,) = document["spec"]["triggers"]
        address, _, names = trigger["metadata"]["url"].rpartition("/scale/")
        assert address == "http://orch-metrics:9464"
        found[document["spec"]["scaleTargetRef"]["name"]] = names.split(",")
    assert found == workers()


def test_what_keda_asks_for_is_what_the_exporter_answers() -> None:
    for document in documents(*KEDA):
        (trigger,) = document["spec"]["triggers"]
        assert trigger["metadata"]["valueLocation"] == "workers"
        assert trigger["metadata"]["targetValue"] == "1"


def test_all_run_the_image_of_this_release_as_an_ordinary_user() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for name, each in deployments().items():
        assert container(each)["image"] == f"orch:{version}", name
        assert each["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"], name
