"""`python -m bench` runs and prints what docs/performance.md says. No figure is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SYSTEMS = ("stock", "tuned", "orch")


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--rounds", "1", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
    )


@pytest.mark.slow
def test_a_quick_run_prints_the_documented_figures_as_json() -> None:
    done = bench("--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["quick"] is True
    assert document["rounds"] == 1
    assert document["machine"]["aof"] is True
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    for name, found in document["metrics"].items():
        assert f"`{name}`" in page
        assert found["better"] in ("higher", "lower")
        assert all(found[system] >= 0 for system in SYSTEMS)
        assert {"unit", "bar", "met", "ratio_to_stock", "ratio_to_tuned"} <= found.keys()
    assert document["metrics"]["chain_throughput"]["orch"] > 0


@pytest.mark.long
def test_a_single_workload_prints_a_table() -> None:
    done = bench("--only", "memory")
    assert done.returncode == 0, done.stderr
    assert "kept_bytes" in done.stdout
    assert "chain_throughput" not in done.stdout
