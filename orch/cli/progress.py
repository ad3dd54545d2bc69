"""The events of an execution as people read them: line by line, or a table that moves."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from orch.cli import output
from orch.workflows.rungs import subject_of

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from orch.journal.journal import HistoryEntry
    from orch.workflows.beat import Beat

# Event -> the state that a step is in after it; other events leave its state alone.
STATES = {
    "claimed": "running",
    "completed": "completed",
    "decided": "completed",
    "failed": "failed",
    "retrying": "retrying",
    "retried": "dispatched",
    "polled": "polling",
    "asked": "escalated",
    "escalated": "escalated",
    "rung": "escalated",
    "reminded": "escalated",
    "ruled": "escalated",
    "inbox": "escalated",
    "redispatched": "dispatched",
    "released": "dispatched",
    "breaker_open": "retrying",
    "limited": "dispatched",
    "granted": "dispatched",
    "compensating": "dispatched",
    "lost": "lost",
    "waiting": "waiting",
    "forked": "joining",
    "calling": "calling",
    "listening": "listening",
    "external": "external",
    "emitting": "emitting",
    "skipped": "skipped",
    "cancelled": "cancelled",
}
MOST_HEARD = 100
"""Running steps whose heartbeats are asked for."""
ENDED_BADLY = ("fail", "reroute", "expired")
"""How an escalation is resolved where its step has failed; `completed` was told before else."""
_ENDED = ("completed", "failed", "skipped", "cancelled")


def describe(entry: HistoryEntry) -> str:
    """What an event says beside its word: the error, where it goes, until when it waits."""
    parts = []
    if entry.event == "addressed":
        from orch.workflows.message import told

        return told(entry.detail)
    for key, value in entry.detail.items():
        match key:
            case "kind" if "rung" in entry.detail:
                continue
            case "rung":
                kind = entry.detail.get("kind")
                parts.append(f"rung {value}: {kind}" if kind else f"rung {value}")
            case "error" if isinstance(value, dict):
                parts.append(f"{value.get('name')}: {_one_line(value.get('message'))}")
            case "due":
                parts.append(f"again in {output.duration(value - entry.at)}")
            case "until":
                parts.append(f"for {output.duration(value - entry.at)}")
            case "tokens" | "cost" if entry.event == "used":
                parts.append(f"{value} tokens" if key == "tokens" else f"cost {value:.6g}")
            case "worker":
                parts.append(f"on {str(value).rsplit('/', 2)[0]}")
            case "to" | "next":
                parts.append(f"→ {value}")
            case "kept":
                parts.append(f"kept {output.duration(entry.at - value)} before")
            case "votes" if isinstance(value, list):
                from orch.control.status import votes_in_words

                parts.append(votes_in_words(value))
            case "dissenters" | "need" | "policy" if "votes" in entry.detail:
                continue  # the votes tell it
            case "branches":
                parts.append(f"{value} branches")
            case "status":
                parts.append(str(value))
            case _:
                parts.append(f"{key} {value}")
    return ", ".join(parts)


def _one_line(message: Any) -> str:
    text = " ".join(str(message).split())
    return text if len(text) <= 200 else f"{text[:199]}…"


@dataclass
class Row:
    """The state of one step, as its events tell it. Instants in ms since the epoch."""

    path: str
    state: str
    attempt: int
    began: int
    ended: int = 0
    note: str = ""
    heard: int = 0  # its last heartbeat


def _state_after(entry: HistoryEntry) -> str | None:
    if entry.event == "resolved":
        return "failed" if entry.detail.get("decision") in ENDED_BADLY else None
    return STATES.get(entry.event)


class Progress(Protocol):
    def __enter__(self) -> Progress: ...
    def __exit__(self, *_: object) -> None: ...
    def add(self, entries: Sequence[HistoryEntry]) -> None:
        """Take note of what happened since the last call."""

    def tick(self, now: int) -> None:
        """Time went on. ``now`` in ms since the epoch."""

    def running(self) -> list[str]:
        """Paths of the steps at work, of which there may be heartbeats."""

    def hear(self, beats: Mapping[str, Beat]) -> None:
        """Take note of what running steps said last."""


def make_progress(created: int, *, quiet: bool = False) -> Progress:
    """A table that moves where stderr is a terminal, else lines. ``created``: ms."""
    if quiet:
        return Silence()
    return Lines(created) if output.is_plain(sys.stderr) else LiveTable()


class Silence:
    def __enter__(self) -> Silence:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def add(self, entries: Sequence[HistoryEntry]) -> None:
        pass

    def tick(self, now: int) -> None:
        pass

    def running(self) -> list[str]:
        return []

    def hear(self, beats: Mapping[str, Beat]) -> None:
        pass


class Steps:
    """The rows of an execution, in the order in which its steps were first heard of."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}

    def take(self, entry: HistoryEntry) -> Row | None:
        """The row that an event changes; None when it changes none."""
        state = _state_after(entry)
        if state is None or not entry.path:
            return None
        row = self.rows.setdefault(entry.path, Row(entry.path, state, 0, entry.at))
        row.state, row.attempt = state, entry.attempt
        if entry.event == "claimed":
            row.began = entry.at
        row.ended = entry.at if state in _ENDED else 0
        row.note = describe(entry)
        return row

    def shown(self) -> list[Row]:
        """The rows, the works of rungs right below the step that they are for."""
        place: dict[str, int] = {}
        for path in self.rows:
            place.setdefault(subject_of(path), len(place))
        return sorted(self.rows.values(), key=lambda row: place[subject_of(row.path)])

    def running(self) -> list[str]:
        found = [row.path for row in self.rows.values() if row.state == "running"]
        return found[-MOST_HEARD:]

    def hear(self, beats: Mapping[str, Beat]) -> list[Row]:
        """The rows of which there is something new."""
        changed = []
        for path, beat in beats.items():
            row = self.rows.get(path)
            if row is None or row.state != "running" or beat.at <= row.heard:
                continue
            row.heard = beat.at
            if beat.attempt == row.attempt and beat.progress is not None:
                row.note = beat.brief()
                changed.append(row)
        return changed


class Lines(Silence):
    """One line on stderr for each change of a step's state."""

    def __init__(self, created: int) -> None:
        self.created = created
        self.steps = Steps()

    def add(self, entries: Sequence[HistoryEntry]) -> None:
        for entry in entries:
            row = self.steps.take(entry)
            if row is None:
                continue
            since = f"{(entry.at - self.created) / 1000:8.3f} s"
            if entry.at < self.created:
                since = f"{'kept':>10}"  # by a fork, from its origin
            parts = [since, row.path, row.state]
            if row.attempt > 1:
                parts.append(f"attempt {row.attempt}")
            if row.ended:
                parts.append(output.duration(row.ended - row.began))
            if row.note and row.state != "running":
                parts.append(row.note)
            output.say("  ".join(parts))

    def running(self) -> list[str]:
        return self.steps.running()

    def hear(self, beats: Mapping[str, Beat]) -> None:
        for row in self.steps.hear(beats):
            at = f"{(row.heard - self.created) / 1000:8.3f} s"
            output.say("  ".join((at, row.path, row.state, row.note)))


class LiveTable(Silence):
    """A table of all steps that is drawn anew in place."""

    def __init__(self) -> None:
        self.steps = Steps()
        self.now = 0
        self.live: Live | None = None

    def __enter__(self) -> LiveTable:
        from rich.live import Live

        self.console = output.console(sys.stderr)
        self.live = Live(
            get_renderable=lambda: self.table(self.console.height - 3),
            console=self.console,
            refresh_per_second=8,
            redirect_stdout=False,
        )
        self.live.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        if self.live is not None:
            self.live.__exit__(*exc)
            self.live = None

    def add(self, entries: Sequence[HistoryEntry]) -> None:
        for entry in entries:
            self.steps.take(entry)

    def tick(self, now: int) -> None:
        self.now = now

    def running(self) -> list[str]:
        return self.steps.running()

    def hear(self, beats: Mapping[str, Beat]) -> None:
        self.steps.hear(beats)

    def table(self, most: int) -> Table:
        """The latest ``most`` rows: what moves is at the end."""
        from rich.table import Table
        from rich.text import Text

        made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for column in ("step", "state", "attempt", "duration", ""):
            made.add_column(column, no_wrap=True, overflow="ellipsis")
        rows = self.steps.shown()
        for row in rows[-max(most, 1) :]:
            made.add_row(
                row.path,
                Text(row.state, output.STYLES.get(row.state, "")),
                str(row.attempt or ""),
                output.duration(max((row.ended or self.now) - row.began, 0)),
                Text(row.note),
            )
        return made
