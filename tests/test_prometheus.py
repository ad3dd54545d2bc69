"""What Prometheus reads of executions and of the whole; alerts and a dashboard that name it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from orch import Orchestrator
from orch.journal.counting import BOUNDS, Totals
from orch.journal.journal import Journal
from orch.monitoring.advice import Aim
from orch.monitoring.exporter import Collector
from orch.settings import Settings
from orch.workflows.state import ExecutionStatus
from tests.build import start, task
from tests.test_counting import started

ROOT = Path(__file__).parents[1]
RULES = ROOT / "deploy/prometheus/rules.yaml"
DASHBOARD = ROOT / "deploy/grafana/orch.json"

FAILURE = {"name": "Stopped", "message": "by hand"}


def within(totals: Totals, workflow: str, status: str) -> dict[str, int]:
    return totals.ended[workflow, status].within


def advance(journal: Journal, ms: int) -> None:
    journal.clock.advance(ms)  # type: ignore[attr-defined]


def test_ends_are_counted_with_how_long_they_took(journal: Journal) -> None:
    for number, ms in enumerate((0, 100, 101, 86_400_001)):
        worked = started(journal, "a b/ü", f"x{number}")
        advance(journal, ms)
        worked.do("a")
    started(journal, "other", "y").fail("a")
    totals = journal.totals()
    assert totals.started == {"a b/ü": 4, "other": 1}
    assert within(totals, "a b/ü", "completed") == {"100": 2, "500": 1, "+": 1}
    assert totals.ended["a b/ü", "completed"].took == 86_400_202
    assert totals.ended["other", "failed"].count == 1


def test_bounds_are_those_of_the_script(journal: Journal) -> None:
    for number, bound in enumerate(BOUNDS):
        worked = started(journal, "w", f"x{number}")
        advance(journal, bound)
        worked.do("a")
    found = within(journal.totals(), "w", "completed")
    assert found == {str(bound): 1 for bound in BOUNDS}


def test_totals_outlive_what_they_tell_of(journal: Journal, redis: Redis) -> None:
    worked = start(journal, task("a"))
    journal.end(worked.execution, ExecutionStatus.CANCELLED, FAILURE)
    for key in redis.scan_iter("*:x:*"):
        redis.delete(key)
    advance(journal, 30 * 86_400_000)
    journal.forget_expired()
    assert journal.count_executions() == {}
    (ends,) = journal.totals().ended.values()
    assert ends.count == 1


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings) -> Iterator[Orchestrator]:
    given = settings.model_copy(update={"resources": {"licence": 3}})
    with Orchestrator(given) as made:
        yield made


@pytest.fixture
def scrape(orchestrator: Orchestrator) -> Callable[[], dict[tuple[str, ...], float]]:
    registry = CollectorRegistry()
    registry.register(Collector(orchestrator.runtime, Aim()))

    def read() -> dict[tuple[str, ...], float]:
        """(name, value of each label in the order of their names) -> the sample."""
        return {
            (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(generate_latest(registry).decode())
            for sample in family.samples
        }

    return read


def test_executions_are_counted_from_their_start_to_their_end(
    orchestrator: Orchestrator, scrape: Callable[[], dict[tuple[str, ...], float]]
) -> None:
    orchestrator.define_workflow("w", {"name": "w", "steps": [task("a")]})
    later = {"delay": "1h"}
    ids = [orchestrator.start_workflow("w", **given).id for given in ({}, {}, later)]  # type: ignore[arg-type]
    orchestrator.terminate_workflow(ids[0])
    orchestrator.terminate_workflow(ids[2])
    found = scrape()
    assert found["orch_executions_started_total", "w"] == 3
    assert found["orch_executions_open", "running", "w"] == 1
    assert ("orch_executions_open", "cancelled", "w") not in found
    assert found["orch_executions_ended_total", "cancelled", "w"] == 2
    assert found["orch_execution_duration_seconds_count", "cancelled", "w"] == 2
    assert found["orch_execution_duration_seconds_bucket", "+Inf", "cancelled", "w"] == 2
    assert found["orch_execution_duration_seconds_sum", "cancelled", "w"] < 30


def test_one_that_ends_with_its_start_is_counted(
    orchestrator: Orchestrator, scrape: Callable[[], dict[tuple[str, ...], float]]
) -> None:
    orchestrator.define_workflow("w", {"name": "w", "steps": [task("a", condition="false")]})
    orchestrator.start_workflow("w")
    orchestrator.start_workflows([("w", None)])
    found = scrape()
    assert found["orch_executions_started_total", "w"] == 2
    assert found["orch_executions_ended_total", "completed", "w"] == 2
    assert found["orch_execution_duration_seconds_bucket", "0.1", "completed", "w"] == 2


def test_the_whole_is_told_of(
    orchestrator: Orchestrator, scrape: Callable[[], dict[tuple[str, ...], float]]
) -> None:
    found = scrape()
    assert [found["orch_agents", state] for state in ("live", "draining", "silent")] == [0, 0, 0]
    assert found["orch_watch_overdue",] == 0 and found["orch_watch_lag_seconds",] == 0
    assert found["orch_redis_memory_bytes",] > 0
    assert (found["orch_schedules",], found["orch_beat_leads",]) == (0, 0)
    orchestrator.define_workflow("w", {"name": "w", "steps": [task("a")]})
    orchestrator.add_schedule({"name": "s", "workflow": "w", "every": "1h"})
    found = scrape()
    assert (found["orch_schedules",], found["orch_schedule_lag_seconds",]) == (1, 0)


def test_workers_are_read_once_for_a_scrape(
    orchestrator: Orchestrator,
    scrape: Callable[[], dict[tuple[str, ...], float]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    journal, asked = orchestrator.runtime.journal, []
    read = journal._names
    monkeypatch.setattr(journal, "_names", lambda: asked.append(1) or read())
    scrape()
    assert len(asked) == 1


def named_in(*expressions: str) -> set[str]:
    return {name for each in expressions for name in re.findall(r"\borch_[a-z_]+", each)}


def known() -> set[str]:
    """Metrics that the documentation lists, which is compared with what is served below."""
    text = (ROOT / "docs/scaling.md").read_text()
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `orch_")]
    names = {name for row in rows for name in re.findall(r"`(orch_[a-z_]+)`", row)}
    histograms = {name for name in names if name.endswith("_duration_seconds")}
    return names | {f"{name}_{end}" for name in histograms for end in ("bucket", "sum", "count")}


def test_each_metric_is_documented(orchestrator: Orchestrator) -> None:
    served = set()
    for family in Collector(orchestrator.runtime, Aim()).collect():
        served.add(f"{family.name}_total" if family.type == "counter" else family.name)
    assert served == {name for name in known() if not name.endswith(("_bucket", "_sum", "_count"))}


def test_alerts_and_dashboard_name_metrics_that_there_are() -> None:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    alerts = [rule["expr"] for rule in group["rules"]]
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text())
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    panels += [each["query"] for each in dashboard["templating"]["list"]]
    assert len(alerts) == len({rule["alert"] for rule in group["rules"]}) >= 8
    assert all({"summary", "action"} == set(rule["annotations"]) for rule in group["rules"])
    assert named_in(*alerts, *panels) <= known()
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(numbers) == len(set(numbers)) and "orch_" in panels[0]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_takes_the_rules() -> None:
    subprocess.run(["promtool", "check", "rules", str(RULES)], check=True)
