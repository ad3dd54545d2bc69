"""How far a run is, and how long it will go on."""

from __future__ import annotations

import statistics
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar


class Progress:
    """A line on a terminal, or a line for each turn elsewhere.

    ``expected``: seconds that each turn will take, as far as one knows before it; what a turn
    of the same kind took is believed more.
    """

    def __init__(self, console: Console, expected: list[float]) -> None:
        self.console = console
        self.expected = expected
        self.took: dict[object, list[float]] = {}
        self.pace = [1.0]
        self._now: tuple[object, float] | None = None
        self._turn = 0
        columns = (BarColumn(24), MofNCompleteColumn(), TextColumn("{task.description}"))
        self.bar = Bar(
            *columns,
            console=console,
            transient=True,
            refresh_per_second=1,  # its CPU is the client's
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("", total=len(expected))

    def __enter__(self) -> Progress:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def begin(self, said: str, kind: object) -> None:
        """The turn before this one is over."""
        now = time.monotonic()
        if self._now is not None:
            _before, begun = self._now
            self.pace.append((now - begun) / self.expected[self._turn - 1])
        self._now = (kind, now)
        left = sum(self.expected[self._turn :]) * statistics.mean(self.pace[-40:])
        self._turn += 1
        said = f"{said}, about {_span(left)} left"
        self.bar.update(self.task, completed=self._turn - 1, description=said)
        if not self.console.is_terminal:
            self.console.print(said, style="dim")


def _span(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{max(1, seconds):.0f} s"
