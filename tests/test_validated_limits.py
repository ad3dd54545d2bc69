"""What the validator says of limits and resources."""

from __future__ import annotations

from typing import Any

import pytest

from orch import Orchestrator
from orch.settings import Settings
from orch.workflows.validation import validate_document
from tests.build import task, wait


def findings(step: dict[str, Any], **known: Any) -> list[tuple[str, str, str]]:
    document = {"name": "w", "timeoutMs": 1000, "steps": [step]}
    found = validate_document(document, **known)[1]
    return [(each.severity.value, each.path, each.message) for each in found]


def test_limits_and_resources_that_are_fine_have_no_findings() -> None:
    limits = {"key": "$.input.customer", "concurrency": 2, "rateLimit": "5/s"}
    step = task("a", resources={"gpu": 1}, limits=[limits])
    assert findings(step, known_resources={"gpu": 1}) == []
    assert findings(step) == []  # nobody knows which there are
    assert findings(task("a", limits=[limits, {"name": "bank", "concurrency": 1}])) == []


def test_a_resource_that_is_not_there_or_not_enough_is_found() -> None:
    step = task("a", resources={"gpu": 4, "gpo": 1})
    assert findings(step, known_resources={"gpu": 3}) == [
        ("warning", "steps[0].resources.gpo", "there is no resource 'gpo'"),
        (
            "warning",
            "steps[0].resources.gpu",
            "the step takes 4 of resource 'gpu', whose capacity is 3",
        ),
    ]


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"rateLimit": "0/s"}, "a rate above 0"),
        ({"rateLimit": "often"}, "should be a rate, such as '50/s'"),
        ({"concurrency": 0}, "must be at least 1"),
        ({"key": "$.input.customer"}, "takes `concurrency`, `rateLimit`, or both; found neither"),
        ({"concurrency": 1, "key": "$.nothing.there"}, "$.nothing"),
    ],
)
def test_a_limit_that_is_none_is_found(limits: dict[str, Any], said: str) -> None:
    found = findings(task("a", limits=[limits]))
    assert any(severity == "error" and said in message for severity, _, message in found), found


def test_only_what_workers_do_can_be_limited() -> None:
    found = findings(wait("a", 5, resources={"gpu": 1}))
    assert found == [
        ("error", "steps[0].resources", "a step that no worker does has no `resources`")
    ]


def test_an_orchestrator_knows_which_resources_there_are(redis: Any, settings: Settings) -> None:
    given = settings.model_copy(update={"resources": {"gpu": 1}})
    with Orchestrator(given) as orchestrator:
        orchestrator.define_resource("licence", 1)
        document = {"name": "w", "timeoutMs": 9, "steps": [task("a", resources={"licence": 2})]}
        (found,) = orchestrator.validate_workflow(document)
        assert "whose capacity is 1" in found.message
