"""What the command line prints: data on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

    from orch.workflows.validation import Finding

BROKEN_PIPE = 141
"""Exit code when the reader of stdout is gone: that of a process that SIGPIPE ended."""

STYLES = {
    "scheduled": "blue",
    "queued": "blue",
    "running": "cyan",
    "dispatched": "blue",
    "retrying": "yellow",
    "waiting": "blue",
    "joining": "blue",
    "external": "blue",
    "escalated": "yellow",
    "completed": "green",
    "failed": "red",
    "lost": "red",
    "cancelled": "magenta",
    "cancelling": "magenta",
    "compensating": "blue",
    "skipped": "dim",
    "error": "red",
    "warning": "yellow",
}


class ReaderGone(Exception):
    """Whoever read our stdout has stopped reading."""


def write(text: str, stream: TextIO) -> None:
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        text = text.encode("ascii", "backslashreplace").decode()
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        # The interpreter flushes once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if stream is sys.stdout:
            raise ReaderGone from None


def line(text: str = "") -> None:
    """A line of data."""
    write(f"{text}\n", sys.stdout)


def say(text: str) -> None:
    """A line for people: progress, or what was done."""
    write(f"{text}\n", sys.stderr)


def warn(text: str) -> None:
    say(f"warning: {text}")


def print_json(value: Any, *, compact: bool = False) -> None:
    text = json.dumps(value, indent=None if compact else 2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=None if compact else 2)
    line(text)


def report(
    name: str,
    message: str,
    hint: str = "",
    *,
    as_json: bool,
    findings: Sequence[Finding] | None = None,
) -> None:
    """An error: for people on stderr, and with ``as_json`` as an object on stdout too."""
    say(f"{message}\n\nhint: {hint}" if hint else message)
    if as_json:
        error: dict[str, Any] = {"name": name, "message": message, "hint": hint}
        if findings is not None:
            error["findings"] = [finding.as_dict() for finding in findings]
        with contextlib.suppress(ReaderGone):
            print_json({"error": error})


def is_plain(stream: TextIO) -> bool:
    """Whether lines are all that can be shown there: nothing moves, nothing is overwritten."""
    return not stream.isatty() or os.environ.get("TERM", "") in ("", "dumb")


def console(stream: TextIO) -> Console:
    """Where nobody sees it, or NO_COLOR is set, it writes no escape sequences for style."""
    from rich.console import Console

    plain = is_plain(stream)
    return Console(
        file=stream,
        width=10_000 if plain else None,
        color_system=None if plain or os.environ.get("NO_COLOR") else "auto",
        markup=False,
        highlight=False,
        emoji=False,
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Aligned columns on stdout; cells that are a status get its colour."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        cells = [*map(_cell, row[:-1]), "" if row[-1] is None else str(row[-1])]
        made.add_row(*(Text(cell, STYLES.get(cell, "")) for cell in cells))
    shown = console(sys.stdout)
    with shown.capture() as captured:
        shown.print(made)
    for text in captured.get().splitlines():
        line(text.rstrip())


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else str(value)


def duration(ms: int | float | None) -> str:
    """340 -> ``340 ms``; 65_000 -> ``1 min 5 s``."""
    if ms is None:
        return ""
    if ms < 1000:
        return f"{max(ms, 0):.0f} ms"
    seconds = ms / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
