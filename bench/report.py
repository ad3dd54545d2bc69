"""Figures of all rounds -> medians and ratios, as tables or as JSON."""

from __future__ import annotations

import math
import os
import platform
import statistics
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.metrics import METRICS
from bench.workloads import Figures

Rounds = dict[str, list[Figures]]
"""System -> its figures in each round."""

OURS, BASE = "orch", "stock"

BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
"""Lines of a page, between which the tables of a run belong."""


def summary(rounds: Rounds, server: dict[str, Any], about: dict[str, Any]) -> dict[str, Any]:
    """The document of ``--json``; a ratio is the median of the ratios of each round."""
    server_name = server.get("server_name", "redis")
    server_version = server.get(f"{server_name}_version", server["redis_version"])
    metrics = {name: found for name in METRICS if (found := _figure(name, rounds))}
    return {
        "rounds": len(rounds[OURS]),
        "machine": {
            "cpus": os.cpu_count(),
            "platform": platform.platform(),
            "python": platform.python_version(),
            "server": f"{server_name} {server_version}",
            "aof": bool(server["aof_enabled"]),
            **{name: version(name) for name in ("celery", "kombu", "redis")},
        },
        "systems": about,
        "metrics": metrics,
        "behind": {
            name: ahead for name, found in metrics.items() if (ahead := _ahead(name, found))
        },
    }


def _figure(name: str, rounds: Rounds) -> dict[str, Any] | None:
    metric = METRICS[name]
    found = {
        system: [figures.get(name) for figures in each]
        for system, each in rounds.items()
        if any(name in figures for figures in each)
    }
    if OURS not in found:
        return None
    medians = {system: _median(values) for system, values in found.items()}
    ratios = {
        system: _ratios(found[system], found[BASE])
        for system in found
        if system != BASE and BASE in found
    }
    to_stock = _median(ratios.get(OURS, []))
    ours = medians[OURS]
    return {
        "said": metric.said,
        "unit": metric.unit,
        "better": "higher" if metric.higher else "lower",
        "systems": {system: _finite(value) for system, value in medians.items()},
        "never": [system for system, value in medians.items() if value == math.inf],
        "ratios": {system: _finite(_median(each)) for system, each in ratios.items()},
        "ratio_to_stock": _finite(to_stock),
        "ratio_to_tuned": _finite(_median(_ratios(found[OURS], found.get("tuned", [])))),
        "ratios_to_stock": [_finite(ratio) for ratio in ratios.get(OURS, [])],
        "bar": metric.bar.text(metric.higher) if metric.bar else None,
        "met": None if ours is None else metric.meets(ours, to_stock),
    }


def _median(values: list[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return statistics.median(there) if there else None


def _ratios(ours: list[float | None], theirs: list[float | None]) -> list[float | None]:
    """One for each round; the other's may be missing, 0, or infinite."""
    return [
        round(mine / other, 3)
        for mine, other in zip(ours, theirs, strict=False)
        if mine is not None and other and math.isfinite(mine) and math.isfinite(other)
    ]


def _finite(value: float | None) -> float | None:
    """JSON has no word for what never came."""
    return None if value is None or not math.isfinite(value) else value


def _ahead(name: str, found: dict[str, Any]) -> list[str]:
    """Who is better than orch."""
    metric, systems = METRICS[name], found["systems"]
    ours = systems.get(OURS)
    if ours is None:  # it never came
        return [system for system, theirs in systems.items() if theirs is not None]
    return [
        system
        for system, theirs in systems.items()
        if metric.compared
        and theirs is not None
        and (theirs > ours if metric.higher else theirs < ours)
    ]


# --- tables ----------------------------------------------------------------------------------


def print_tables(document: dict[str, Any], console: Console) -> None:
    machine = document["machine"]
    title = (
        f"median of {document['rounds']} rounds; Celery {machine['celery']}, "
        f"{machine['server']}, {machine['cpus']} CPUs"
    )
    for heading, (columns, rows) in _tables(document).items():
        table = Table(title=f"{heading}; {title}")
        for number, column in enumerate(columns):
            table.add_column(column, justify="left" if number < 2 else "right", no_wrap=number > 1)
        for row in rows:
            style = "red" if "NO" in row else None
            table.add_row(*row, style=style)
        console.print(table)
    for sentence in _sentences(document):
        console.print(sentence)


def markdown(document: dict[str, Any]) -> str:
    """The same tables and sentences for a page."""
    parts = []
    for columns, rows in _tables(document).values():
        lines = [columns, ["---"] * len(columns), *rows]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    parts += ["\n".join(f"- {sentence}" for sentence in _sentences(document))]
    return "\n\n".join(part for part in parts if part)


def paste(document: dict[str, Any], page: Path) -> None:
    """Put them between the two marks of a page. Raises ValueError where they are missing."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{page} has no lines {BEGIN} and {END}")
    made = _how(document) + "\n\n" + markdown(document)
    page.write_text(f"{before}{begin}\n\n{made}\n\n{end}{after}", encoding="utf-8")


def _how(document: dict[str, Any]) -> str:
    """What was run, and on what."""
    machine = document["machine"]
    return (
        f"Medians of {document['rounds']} rounds; {machine['cpus']} processors, Python "
        f"{machine['python']}, Celery {machine['celery']}, redis-py {machine['redis']}, "
        f"{machine['server']}, append-only file {'on' if machine['aof'] else 'off'}. In brackets: "
        "the ratio to stock Celery."
    )


def _tables(document: dict[str, Any]) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Heading -> columns and rows: orch beside Celery, and all beside each other."""
    names = list(document["systems"])
    own = ["stock", "tuned", "orch"]
    tables = {
        "orch and Celery": (
            ["figure", "what", "unit", *own, "to stock", "to tuned", "bar", "met"],
            [_row(name, found, document) for name, found in document["metrics"].items()],
        )
    }
    others = [name for name in names if name not in own]
    if others:
        tables["and its peers"] = (
            ["figure", "unit", *names],
            [
                [
                    f"`{name}`",
                    found["unit"],
                    *(_cell(system, found, document, ratio=True) for system in names),
                ]
                for name, found in document["metrics"].items()
                if any(system in found["systems"] for system in others)
            ],
        )
    return tables


def _row(name: str, found: dict[str, Any], document: dict[str, Any]) -> list[str]:
    ratios = (found["ratio_to_stock"], found["ratio_to_tuned"])
    return [
        f"`{name}`",
        found["said"],
        found["unit"],
        *(_cell(system, found, document) for system in ("stock", "tuned", "orch")),
        *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
        found["bar"] or "",
        {True: "yes", False: "NO", None: ""}[found["met"]],
    ]


def _cell(
    system: str, found: dict[str, Any], document: dict[str, Any], *, ratio: bool = False
) -> str:
    if system in found["never"]:
        return str(document["systems"][system]["never"])
    value = found["systems"].get(system)
    if value is None:
        return ""
    text = _number(value)
    to_stock = found["ratios"].get(system)
    return f"{text} ({to_stock:.2f})" if ratio and to_stock is not None else text


def _number(value: float) -> str:
    """Three digits, without an exponent."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}" if abs(value) >= 0.0005 else "0"


def _sentences(document: dict[str, Any]) -> list[str]:
    """What went wrong or is missed, who is ahead of orch, and who is missing."""
    metrics = document["metrics"]
    met = [found["met"] for found in metrics.values() if found["met"] is not None]
    said = [f"Bars met: {sum(met)} of {len(met)}."] if met else []
    for name, ahead in document["behind"].items():
        found = metrics[name]
        theirs = ", ".join(f"{system} {_number(found['systems'][system])}" for system in ahead)
        ours = found["systems"]["orch"]
        ours = "never" if ours is None else _number(ours)
        said.append(f"Ahead of orch in `{name}`: {theirs} against {ours} {found['unit']}.")
    said += [f"{name} is left out: {why}" for name, why in document["skipped"].items()]
    said += [f"Failed: {failure}" for failure in document["failures"]]
    return said
