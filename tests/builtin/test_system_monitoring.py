"""How this machine is doing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orch.agents.builtin.system_monitoring import Thresholds, system_monitoring
from orch.agents.capability import get
from orch.agents.context import Context
from orch.errors import StepError

NONE: dict[str, Any] = {"cpu": None, "memory": None, "disk": None}


def test_the_machine_is_looked_at(tmp_path: Path) -> None:
    found = system_monitoring(Thresholds(**NONE), path=str(tmp_path), interval=0.05, processes=3)
    assert found["status"] == "healthy"
    assert 0 < found["memory"]["used"] <= found["memory"]["total"]
    assert found["disk"]["path"] == str(tmp_path)
    assert found["cpu"]["cores"] >= 1
    assert len(found["processes"]) == 3
    assert set(found["processes"][0]) == {"pid", "name", "memoryPercent", "status"}


def test_a_threshold_that_is_reached_is_an_alert() -> None:
    found = system_monitoring(Thresholds(**NONE | {"memory": 0}), interval=0.05)
    assert found["status"] == "unhealthy"
    assert [alert["name"] for alert in found["alerts"]] == ["memory"]


def test_it_is_an_error_where_it_must_be_healthy() -> None:
    with pytest.raises(StepError) as failed:
        system_monitoring(Thresholds(**NONE | {"disk": 0}), interval=0.05, mustBeHealthy=True)
    assert failed.value.name == "SystemUnhealthy"
    assert "disk is at" in str(failed.value)


@pytest.mark.parametrize("given", [{"thresholds": {"cpu": 101}}, {"thresholds": {"gpu": 5}}])
def test_a_threshold_that_cannot_be_is_an_error(given: dict[str, Any]) -> None:
    found = get("system_monitoring")
    assert found is not None
    with pytest.raises(StepError) as failed:
        found.call(given, Context())
    assert failed.value.name == "InvalidInput"
