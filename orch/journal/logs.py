"""Lines that the code of steps logged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orch.journal.connection import Connection
from orch.workflows.logged import OVERHEAD, LogLine

PAGE = 1000
"""Lines that are read at once."""

BEGINNING = "-"


class Logs(Connection):
    """Every method may raise Unreachable."""

    def keep_lines(self, execution: str, lines: Sequence[LogLine]) -> bool:
        """Keep lines of one attempt, in their order. False: the execution is not there any more.

        Repeated after an answer that was lost, they stand there twice; `read_lines` gives one.
        """
        reply = self.run(
            "keep_lines",
            record=self.keys.record(execution),
            logs=self.keys.logs(execution),
            lines=[line.dumps() for line in lines],
            each=OVERHEAD,
            most=self.settings.log_bytes_of_execution,
        )
        return self._word("keep_lines", reply, "KEPT", "MISSING") == "KEPT"

    def read_lines(self, execution: str, since: str = BEGINNING) -> Iterator[tuple[str, LogLine]]:
        """All lines behind the position ``since``, each with its own, the oldest first."""
        seen: dict[tuple[str, int], int] = {}  # the highest number of each attempt
        while True:
            entries = self.read(self.redis.xrange, self.keys.logs(execution), min=since, count=PAGE)
            for position, fields in entries:
                line = LogLine.loads(fields["l"])
                attempt = line.path, line.attempt
                if line.number > seen.get(attempt, 0):
                    seen[attempt] = line.number
                    yield position, line
            if len(entries) < PAGE:
                return
            since = f"({entries[-1][0]}"
