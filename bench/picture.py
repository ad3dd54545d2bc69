"""``python -m bench.picture DIR < figures.json``: bars for each system, drawn by matplotlib.

Every axis is linear and begins at 0, a system has one colour throughout, and a mark across
orch's own is the bar that it has to reach.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

PANELS = (
    ("chain_throughput", "Chain of 10, 200 at once"),
    ("fan_out_throughput", "Fan-out of 100, 20 at once"),
    ("spread_throughput", "Chain of 10 over 10 workers"),
    ("chain_latency", "Chain of 10, alone (p50)"),
    ("map_time", "Map of 1,000 items"),
    ("start_time", "Start of a chain of 10 (p50)"),
    ("kept_bytes", "Kept of a finished chain of 10"),
    ("recovery_lost", "Worker killed in a step: time lost"),
)
COLOURS = {
    "orch": "#0b62c4",
    "stock": "#8a8f98",
    "tuned": "#5a5f69",
    "dramatiq": "#c98a1b",
    "restate": "#2f8f6b",
    "dbos": "#9a55b5",
}
OTHER = "#7a5c3e"
LIMIT = "#d3212d"
INK, FAINT = "#1f2328", "#6a7078"


def main() -> int:
    document, folder = json.load(sys.stdin), Path(sys.argv[1])
    plt.rcParams["font.sans-serif"] = ["DejaVu Sans", "Verdana", "Arial", "sans-serif"]
    plt.rcParams.update(
        {"font.size": 9, "svg.hashsalt": "bench", "svg.fonttype": "none", "text.color": INK}
    )
    systems = sorted(document["systems"], key=lambda name: name != "orch")
    panels = [(name, said) for name, said in PANELS if name in document["metrics"]]
    rows = -(-len(panels) // 2)
    figure, grid = plt.subplots(
        rows, 2, figsize=(10.5, 0.9 + rows * (0.75 + 0.24 * len(systems))), squeeze=False
    )
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (name, said) in zip(grid.flat, panels, strict=False):
        _panel(axes, said, document["metrics"][name], document, systems)
    machine = document["machine"]
    figure.text(
        0.01,
        0.012,
        f"Medians of {document['rounds']} rounds on {machine['cpus']} CPUs; Celery "
        f"{machine['celery']}, {machine['server']} with AOF. In brackets: ratio to stock Celery. "
        "Red mark: what orch has to reach. All axes are linear from 0.",
        color=FAINT,
        fontsize=8,
    )
    figure.tight_layout(rect=(0, 0.03, 1, 1), h_pad=1.6, w_pad=2.5)
    names = ["bench.svg", "bench.png"]
    figure.savefig(folder / names[0], metadata={"Date": None}, facecolor="white")
    figure.savefig(folder / names[1], dpi=120, metadata={"Software": None}, facecolor="white")
    _without_trailing_spaces(folder / names[0])
    print(json.dumps(names))
    return 0


def _panel(
    axes: Axes, said: str, found: dict[str, Any], document: dict[str, Any], systems: list[str]
) -> None:
    """One figure: a bar for each system that has it, the best direction in the title."""
    there = [s for s in systems if s in found["systems"]]
    limit = _limit(found)
    never = [document["patience"]] if found["never"] else []
    most = max([v or 0.0 for v in found["systems"].values()] + [limit or 0.0, 1e-9, *never])
    for place, system in enumerate(there):
        value, colour = found["systems"][system], COLOURS.get(system, OTHER)
        if value is None:
            axes.barh(place, most, color="white", edgecolor=colour, hatch="////", height=0.72)
            text, end = str(document["systems"][system]["never"]), most
        else:
            axes.barh(place, value, color=colour, height=0.72)
            ratio = found["ratios"].get(system)
            text = _number(value) + ("" if ratio is None else f"  ({ratio:.2f})")
            end = value
        weight = "normal"
        if system == "orch":
            weight = "bold"
            if limit is not None:
                axes.plot([limit] * 2, [place - 0.5, place + 0.5], color=LIMIT, linewidth=2)
                end = limit if value is not None and 0 <= limit - value < most / 4 else end
        axes.text(end + most * 0.015, place, text, va="center", fontsize=8, weight=weight)
    titles = [document["systems"][s].get("title", s) for s in there]
    axes.set_yticks(range(len(there)), titles)
    axes.set_ylim(len(systems) - 0.5, -0.5)
    axes.set_xlim(0, most * 1.27)
    better = "more" if found["better"] == "higher" else "less"
    axes.set_title(said, loc="left", fontsize=10, weight="bold", color=INK)
    axes.set_title(f"{found['unit']}, {better} is better", loc="right", fontsize=8, color=FAINT)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.tick_params(axis="x", labelsize=8, color=FAINT, labelcolor=FAINT)
    axes.xaxis.set_major_locator(plt.MaxNLocator(5))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)


def _limit(found: dict[str, Any]) -> float | None:
    """Where the bar is, in the figure's own unit."""
    if found["bar"] is None:
        return None
    limit = float(found["bar"].split()[-1])
    if not found["bar"].startswith("ratio"):
        return limit
    stock = found["systems"].get("stock")
    return None if stock is None else limit * float(stock)


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _without_trailing_spaces(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("".join(f"{line.rstrip()}{os.linesep}" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
