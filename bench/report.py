"""Figures of all rounds -> medians and ratios, as a table or as JSON."""

from __future__ import annotations

import os
import platform
import statistics
from importlib.metadata import version
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.workloads import METRICS, Figures, meets

Rounds = dict[str, list[Figures]]
"""System -> its figures in each round."""


def summary(rounds: Rounds, server: dict[str, Any]) -> dict[str, Any]:
    """The document of ``--json``; a ratio is the median of the ratios of each round."""
    metrics = {}
    server_name = server.get("server_name", "redis")
    server_version = server.get(f"{server_name}_version", server["redis_version"])
    for name, metric in METRICS.items():
        found = {
            system: [figures[name] for figures in each if name in figures]
            for system, each in rounds.items()
        }
        if not found["orch"]:
            continue
        value = statistics.median(found["orch"])
        ratio = _ratio(found["orch"], found["stock"])
        metrics[name] = {
            "unit": metric.unit,
            "better": "higher" if metric.higher else "lower",
            **{system: statistics.median(values) for system, values in found.items()},
            "ratio_to_stock": ratio,
            "ratio_to_tuned": _ratio(found["orch"], found["tuned"]),
            "ratios_to_stock": _ratios(found["orch"], found["stock"]),
            "bar": metric.bar or None,
            "met": meets(name, value, ratio),
        }
    return {
        "rounds": len(rounds["orch"]),
        "machine": {
            "cpus": os.cpu_count(),
            "platform": platform.platform(),
            "python": platform.python_version(),
            "server": f"{server_name} {server_version}",
            "aof": bool(server["aof_enabled"]),
            **{name: version(name) for name in ("celery", "kombu", "redis")},
        },
        "metrics": metrics,
    }


def _ratios(ours: list[float], theirs: list[float]) -> list[float]:
    pairs = zip(ours, theirs, strict=True)
    return [round(mine / other, 3) for mine, other in pairs if other]


def _ratio(ours: list[float], theirs: list[float]) -> float | None:
    """None when the other has nothing to be compared with."""
    ratios = _ratios(ours, theirs)
    return statistics.median(ratios) if ratios else None


def print_table(document: dict[str, Any], console: Console) -> None:
    machine = document["machine"]
    table = Table(
        title=f"median of {document['rounds']} rounds; Celery {machine['celery']}, "
        f"{machine['server']}, {machine['cpus']} CPUs",
    )
    table.add_column("figure")
    table.add_column("unit")
    for column in ("stock", "tuned", "orch", "to stock", "to tuned"):
        table.add_column(column, justify="right")
    table.add_column("bar")
    for name, found in document["metrics"].items():
        met = {True: "yes", False: "NO", None: ""}[found["met"]]
        table.add_row(
            name,
            found["unit"],
            *(f"{found[system]:.4g}" for system in ("stock", "tuned", "orch")),
            *(
                "" if found[ratio] is None else f"{found[ratio]:.2f}"
                for ratio in ("ratio_to_stock", "ratio_to_tuned")
            ),
            f"{found['bar'] or ''} {met}".strip(),
        )
    console.print(table)
