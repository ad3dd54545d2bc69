"""The options of `orch memory`, and what they ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Optional

import typer

from orch.cli.filters import read_instant

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045

if TYPE_CHECKING:
    from orch.memory.memory import MemoryFilters
    from orch.memory.sight import Sighted

Text = Annotated[
    Optional[list[str]],
    typer.Argument(metavar="[WORD]...", help="Words of the text, or their beginnings."),
]
Prefix = Annotated[
    Optional[str],
    typer.Option("--prefix", metavar="TEXT", help="How it begins: ORCH:ESCALATION:."),
]
Tag = Annotated[
    Optional[list[str]],
    typer.Option("--tag", metavar="TAG", help="Has TAG. May be repeated: has them all."),
]
Agent = Annotated[
    Optional[str], typer.Option("--agent", metavar="ROLE", help="Written by an agent of ROLE.")
]
Source = Annotated[
    Optional[str],
    typer.Option("--source", metavar="TEXT", help="Tells of this, such as EXECUTION:PATH."),
]
Since = Annotated[
    Optional[str],
    typer.Option("--since", metavar="WHEN", help="Written then or later: 2h, 7d, or ISO 8601."),
]
Until = Annotated[
    Optional[str], typer.Option("--until", metavar="WHEN", help="Written before then.")
]
MinConfidence = Annotated[
    Optional[float],
    typer.Option("--min-confidence", metavar="0-1", help="At least so sure."),
]
Project = Annotated[
    Optional[str],
    typer.Option("--project", metavar="NAME", help="Whose memory, instead of ORCH_PROJECT_ID."),
]
Viewer = Annotated[
    Optional[str],
    typer.Option("--as", metavar="ROLE", help="Also what is private to ROLE, or shared with it."),
]
All = Annotated[bool, typer.Option("--all", help="Also what is private, to whomever.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="Of a record, as `search` lists it.")]


def sight_of(viewer: str | None, everything: bool) -> Sighted:
    return {"viewer": viewer, "all_private": everything}


def filters_of(
    text: list[str] | None,
    prefix: str | None,
    tag: list[str] | None,
    agent: str | None,
    source: str | None,
    since: str | None,
    until: str | None,
    min_confidence: float | None = None,
    sight: Sighted | None = None,
) -> MemoryFilters:
    return {
        "text": " ".join(text or ()),
        "prefix": prefix,
        "tag": tag,
        "agent": agent,
        "source": source,
        "since": read_instant("--since", since),
        "until": read_instant("--until", until),
        "min_confidence": min_confidence,
        **(sight or {}),
    }
