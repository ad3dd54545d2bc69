"""New texts of source files: held until all are there, then shown as a diff, or written."""

from __future__ import annotations

import difflib
from pathlib import Path

from orch.agents.files import named_errors, replace
from orch.errors import StepError

DIFF_LIMIT = 100_000
"""Characters of a diff that an output holds."""


class Changes:
    """Files below `base` as they were read, and as they are to be."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self._before: dict[Path, str] = {}
        self._after: dict[Path, str] = {}
        self.skipped: list[dict[str, str]] = []

    def read(self, file: Path) -> str | None:
        """The text of a file as it is to be; None for what is no UTF-8, which is skipped."""
        if file in self._after:
            return self._after[file]
        with named_errors("read", file):
            content = file.read_bytes()
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            self.skip(file, "it is not UTF-8")
            return None
        self._before[file] = self._after[file] = text
        return text

    def put(self, file: Path, text: str) -> None:
        """What a file that was read is to be."""
        self._after[file] = text

    def skip(self, file: Path, reason: str) -> None:
        entry = {"file": str(file), "reason": reason}
        if entry not in self.skipped:
            self.skipped.append(entry)

    def before(self, file: Path) -> str:
        """The text of a file as it was read."""
        return self._before[file]

    @property
    def changed(self) -> list[Path]:
        return sorted(file for file, text in self._after.items() if text != self._before[file])

    def diff(self, limit: int = DIFF_LIMIT) -> str:
        """The changes as a unified diff, cut after so many characters."""
        lines: list[str] = []
        for file in self.changed:
            name = file.relative_to(self.base).as_posix()
            before = self._before[file].splitlines(keepends=True)
            after = self._after[file].splitlines(keepends=True)
            for line in difflib.unified_diff(before, after, f"a/{name}", f"b/{name}"):
                ended = line.endswith(("\n", "\r"))
                lines.append(line if ended else f"{line}\n\\ No newline at end of file\n")
        text = "".join(lines)
        return text if len(text) <= limit else f"{text[:limit]}\n… cut after {limit} characters\n"

    def write(self) -> None:
        """Replace each changed file as a whole. Raises StepError `Conflict`: somebody else
        changed one since it was read."""
        for file in self.changed:
            with named_errors("write", file):
                if file.read_bytes() != self._before[file].encode("utf-8"):
                    raise StepError("Conflict", f"{str(file)!r} was changed by somebody else")
                replace(file, self._after[file].encode("utf-8"))
