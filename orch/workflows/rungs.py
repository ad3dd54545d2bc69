"""Where the work of a rung stands: `deploy/~2`, `deploy/~technical.1#3`, `deploy/~to.lint`,
`deploy/~2@agent7@host`.

It stands below the step that it is for, so that what ends the step's branch ends it, too. Behind
`~` comes the rung: its number in the step's own ladder, or in that of a named path; or the
capability to which a person has rerouted the step; behind `@` the agent that has it. `#3`: it is
the third work for the step.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MARK = "/~"
_TO = "to."
_RUNG = re.compile(r"(?:(?P<ladder>[a-z_][A-Za-z0-9_-]*)\.)?(?P<number>\d+)(?:@(?P<agent>[^#/]+))?")


@dataclass(frozen=True)
class RungName:
    """What the last part of a path says. ``number``: from 1; 0: a capability was named."""

    ladder: str = ""
    number: int = 0
    capability: str = ""
    agent: str = ""

    def __str__(self) -> str:
        if self.capability:
            return f"~{_TO}{self.capability}"
        own = f"~{self.ladder}.{self.number}" if self.ladder else f"~{self.number}"
        return f"{own}@{self.agent}" if self.agent else own


def in_rung(path: str) -> bool:
    return MARK in path


def subject_of(path: str) -> str:
    """The step that the work of a rung is for; any other path is its own."""
    return path.partition(MARK)[0]


def rung_path(path: str, name: RungName, visit: int) -> str:
    """Where the ``visit``-th work for the step at ``path`` stands, from 1."""
    own = f"{path}/{name}"
    return own if visit == 1 else f"{own}#{visit}"


def rung_of(path: str) -> RungName:
    """What the path of a work says. Raises KeyError for any other path."""
    own = path.partition(MARK)[2].partition("#")[0]
    found = _RUNG.fullmatch(own)
    if found is not None:
        return RungName(found["ladder"] or "", int(found["number"]), agent=found["agent"] or "")
    if not own.startswith(_TO) or len(own) == len(_TO):
        raise KeyError(path)
    return RungName(capability=own[len(_TO) :])
