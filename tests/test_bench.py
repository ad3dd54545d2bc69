"""`python -m bench` runs and prints what docs/performance.md says. No figure is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.metrics import METRICS, Bar, Metric
from bench.report import BEGIN, END, markdown, paste, summary
from bench.workloads import ALONE, WORKLOADS

ROOT = Path(__file__).parent.parent
SYSTEMS = ("stock", "tuned", "orch")
PAGE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
SERVER = {"redis_version": "7.2", "aof_enabled": 1}


def bench(*arguments: str, timeout: float = 110) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--rounds", "1", "--no-peers", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def test_every_figure_and_every_workload_is_in_the_documentation() -> None:
    for name, metric in METRICS.items():
        assert f"`{name}`" in PAGE
        if metric.bar:
            assert metric.bar.text(metric.higher) in PAGE
    for name in WORKLOADS:
        assert f"`{name}`" in PAGE


@pytest.mark.slow
def test_a_quick_run_prints_the_documented_figures_as_json() -> None:
    slow = [name for name in (*ALONE, "spread") if name != "commands"]
    done = bench("--json", *(part for name in slow for part in ("--skip", name)))
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["quick"] is True
    assert document["rounds"] == 1
    assert document["machine"]["aof"] is True
    assert list(document["systems"]) == list(SYSTEMS)
    for found in document["metrics"].values():
        assert found["better"] in ("higher", "lower")
        assert found["systems"]["orch"] >= 0
        assert {"unit", "bar", "met", "ratio_to_stock", "ratio_to_tuned"} <= found.keys()
    assert all(document["metrics"]["chain_throughput"]["systems"][name] > 0 for name in SYSTEMS)


@pytest.mark.long
def test_all_of_it_in_small_prints_tables() -> None:
    done = bench(timeout=400)
    assert done.returncode == 0, done.stderr
    for name in METRICS:
        assert name in done.stdout


def test_a_ratio_is_the_median_of_those_of_each_round() -> None:
    rounds = {
        "stock": [{"chain_throughput": 100.0}, {"chain_throughput": 10.0}, {}],
        "orch": [{"chain_throughput": 800.0}, {"chain_throughput": 60.0}, {}],
    }
    document = summary(rounds, SERVER, {"stock": {}, "orch": {}})
    found = document["metrics"]["chain_throughput"]
    assert found["ratios_to_stock"] == [8, 6]
    assert found["ratio_to_stock"] == 7
    assert found["met"] is True
    assert document["behind"] == {}


def test_what_never_came_is_said_and_has_no_ratio() -> None:
    never = float("inf")
    rounds = {"stock": [{"recovery_lost": never}], "orch": [{"recovery_lost": 2.5}]}
    about = {"stock": {"never": "never"}, "tuned": {}, "orch": {"never": "not in 20 s"}}
    document = {**summary(rounds, SERVER, about), "skipped": {}, "failures": []}
    found = document["metrics"]["recovery_lost"]
    assert found["systems"] == {"stock": None, "orch": 2.5}
    assert found["never"] == ["stock"]
    assert found["ratio_to_stock"] is None
    assert found["met"] is False
    assert "| s | never |  | 2.50 |" in markdown(json.loads(json.dumps(document)))


def test_who_is_ahead_is_said() -> None:
    rounds = {"stock": [{"start_time": 2.0}], "orch": [{"start_time": 1.5}]}
    rounds |= {"quick": [{"start_time": 1.0}]}
    about = {name: {"never": ""} for name in ("stock", "tuned", "orch", "quick")}
    document = {**summary(rounds, SERVER, about), "skipped": {"slow": "gone"}, "failures": []}
    assert document["behind"] == {"start_time": ["quick"]}
    said = markdown(document)
    assert "Ahead of orch in `start_time`: quick 1.00 against 1.50 ms." in said
    assert "slow is left out: gone" in said
    assert "Bars met: 0 of 1." in said


def test_a_page_gets_the_tables_of_a_run_between_its_marks(tmp_path: Path) -> None:
    assert PAGE.count(BEGIN) == PAGE.count(END) == 1
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n", encoding="utf-8")
    document = summary({"stock": [{}], "orch": [{"growth": 1.05}]}, SERVER, {"orch": {}})
    document |= {"skipped": {}, "failures": []}
    for _ in range(2):
        paste(document, page)
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"before\n\n{BEGIN}\n\nMedians of 1 rounds")
        assert text.endswith(f"- Bars met: 1 of 1.\n\n{END}\n\nafter\n")
        assert text.count("`growth`") == 1
    page.write_text("nothing", encoding="utf-8")
    with pytest.raises(ValueError, match="has no lines"):
        paste(document, page)


def test_a_bar_is_for_the_figure_or_for_its_ratio() -> None:
    figure = Metric("", "s", False, Bar(2))
    assert figure.meets(2.0, None) is True
    assert figure.meets(2.1, 0.1) is False
    share = Metric("", "s", True, Bar(2, ratio=True))
    assert share.meets(100.0, 1.9) is False
    assert share.meets(0.0, 2.0) is True
    assert share.meets(100.0, None) is None
