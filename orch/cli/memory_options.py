"""The options of `orch memory`, and what they ask for."""

from __future__ import annotations

from dataclasses import astuple, dataclass
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


@dataclass(frozen=True)
class Whose:
    """The options that say whose memory it is, and who looks; `with_options` adds them."""

    viewer: Viewer = None
    everything: All = False
    project: Project = None

    def sight(self) -> Sighted:
        return {"viewer": self.viewer, "all_private": self.everything}


@dataclass(frozen=True)
class Criteria:
    """The options by which records are found; `with_options` adds them."""

    prefix: Prefix = None
    tag: Tag = None
    agent: Agent = None
    source: Source = None
    since: Since = None
    until: Until = None

    def given(self) -> bool:
        return any(astuple(self))

    def filters(
        self, whose: Whose, text: list[str] | None = None, min_confidence: float | None = None
    ) -> MemoryFilters:
        """Raises InputError."""
        return {
            "text": " ".join(text or ()),
            "prefix": self.prefix,
            "tag": self.tag,
            "agent": self.agent,
            "source": self.source,
            "since": read_instant("--since", self.since),
            "until": read_instant("--until", self.until),
            "min_confidence": min_confidence,
            **whose.sight(),
        }
