"""Which files are meant: by paths, directories and patterns, `src/**/*.{js,ts}` among them."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orch.agents.files import resolve
from orch.errors import StepError

PYTHON = frozenset({".py", ".pyi"})
JAVASCRIPT = frozenset({".js", ".mjs", ".cjs", ".jsx", ".ts", ".mts", ".cts", ".tsx"})
NOT_SOURCES = frozenset(
    ("node_modules", "__pycache__", "venv", "build", "dist", "site-packages", "bower_components")
)
"""Directories that hold what others wrote or what was made; so do those that begin with a dot."""
MOST_FILES = 5000

_MAGIC = re.compile(r"[*?\[{]")


@dataclass(frozen=True)
class Selection:
    """Files that were found, in the order of their paths.

    base     the directory that all of them are in
    missing  what was asked for and is not there
    """

    base: Path
    files: tuple[Path, ...]
    missing: tuple[str, ...]

    def of(self, suffixes: Collection[str]) -> list[Path]:
        return [file for file in self.files if file.suffix.lower() in suffixes]


def select(
    wanted: str | Sequence[str],
    suffixes: Collection[str],
    *,
    base: Path | None = None,
    allow_empty: bool = False,
) -> Selection:
    """The files that paths, directories and patterns mean.

    suffixes     of the files that are taken from a directory; a path or a pattern takes any
    base         where relative ones begin; without it, at the root of files
    allow_empty  whether it is no error if one of them is not there, or none is found

    A pattern knows `*`, `?`, `[a-z]`, `**` for any directories, and `{a,b}`. Directories and
    patterns leave out hidden directories and those of `NOT_SOURCES`, and what a link leads out
    of the root. Raises StepError: `FileNotFound`, `NoFiles`, `TooManyFiles`, `PathOutsideRoot`,
    `InvalidInput`.
    """
    given = [wanted] if isinstance(wanted, str) else list(wanted)
    found: dict[Path, None] = {}
    missing: list[str] = []
    for source in given:
        files = _meant(source, suffixes, base)
        if files is None and not allow_empty:
            raise StepError("FileNotFound", f"there is no file or directory {source!r}")
        if files is None:
            missing.append(source)
        for file in files or ():
            found[file] = None
            if len(found) > MOST_FILES:
                raise _too_many(given)
    if not found and not allow_empty:
        raise _none(given)
    ordered = sorted(found)
    return Selection(_common(ordered, given, base), tuple(ordered), tuple(missing))


def directory(path: str) -> Path:
    """The directory at a path. Raises StepError `FileNotFound`, `WrongKind`, `PathOutsideRoot`."""
    found = resolve(path)
    if not found.exists():
        raise StepError("FileNotFound", f"there is no directory {str(found)!r}")
    if not found.is_dir():
        raise StepError("WrongKind", f"{str(found)!r} is a file, not a directory")
    return found


def walk(top: Path) -> Iterator[Path]:
    """The files below a directory that somebody may have written."""
    for folder, folders, names in os.walk(top):
        folders[:] = sorted(n for n in folders if n not in NOT_SOURCES and not n.startswith("."))
        for name in sorted(names):
            file = Path(folder, name)
            if not file.is_symlink() or (file.is_file() and _may_be_read(file)):
                yield file


def braces(pattern: str) -> list[str]:
    """`{a,b}.js` as `a.js` and `b.js`; braces may stand within braces."""
    start = pattern.find("{")
    if start < 0:
        return [pattern]
    depth, cuts = 0, [start]
    for at in range(start, len(pattern)):
        depth += {"{": 1, "}": -1}.get(pattern[at], 0)
        if depth == 1 and pattern[at] == ",":
            cuts.append(at)
        if depth == 0:
            cuts.append(at)
            break
    if depth or len(cuts) == 2:  # no end, or no choice: a brace like any other character
        head, rest = pattern[: start + 1], pattern[start + 1 :]
        return [head + each for each in braces(rest)]
    options = [pattern[a + 1 : b] for a, b in itertools.pairwise(cuts)]
    head, rest = pattern[:start], pattern[cuts[-1] + 1 :]
    return [each for option in options for each in braces(head + option + rest)]


def _meant(source: str, suffixes: Collection[str], base: Path | None) -> list[Path] | None:
    """None where a plain path leads nowhere."""
    place = os.path.join(base, source) if base is not None and source else source
    path = resolve(place)
    if path.is_dir():
        return [file for file in walk(path) if file.suffix.lower() in suffixes]
    if path.exists():
        return [path]
    if not _MAGIC.search(source):
        return None
    return [file for pattern in braces(place) for file in _matching(pattern)]


def _matching(pattern: str) -> Iterator[Path]:
    whole = resolve(pattern)
    fixed = [part for part in whole.parts]
    first = next((n for n, part in enumerate(fixed) if _MAGIC.search(part)), len(fixed))
    top, rest = Path(*fixed[:first]), fixed[first:]
    if not rest:
        if whole.is_file():
            yield whole
        return
    shape = _shape("/".join(rest))
    for file in walk(top):
        if shape.fullmatch(file.relative_to(top).as_posix()):
            yield file


_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[(!?)((?:\][^\]]*|[^\]]+))\]|.", re.DOTALL)
_MEANS = {"**/": r"(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _shape(pattern: str) -> re.Pattern[str]:
    parts = []
    for token in _TOKEN.finditer(pattern):
        if token[2] is not None:
            inner = token[2].replace("\\", r"\\").replace("]", r"\]").replace("[", r"\[")
            parts.append(f"[{'^/' if token[1] else ''}{inner}]")
        else:
            parts.append(_MEANS.get(token[0]) or re.escape(token[0]))
    try:
        return re.compile("".join(parts), re.DOTALL)
    except re.error as exc:
        raise StepError("InvalidInput", f"{pattern!r} is no pattern of paths: {exc}") from None


def _may_be_read(file: Path) -> bool:
    try:
        resolve(str(file))
    except StepError:
        return False
    return True


def _common(files: Sequence[Path], given: Sequence[str], base: Path | None) -> Path:
    if base is not None:
        return base
    if files:
        return Path(os.path.commonpath([file.parent for file in files]))
    return resolve(".")


def _none(given: Sequence[str]) -> StepError:
    shown = ", ".join(map(repr, given)) or "an empty list"
    return StepError(
        "NoFiles",
        f"no file was found by {shown}",
        hint="check the path and the endings; `allowEmpty: true` takes none as well",
    )


def _too_many(given: Sequence[str]) -> StepError:
    shown = ", ".join(map(repr, given))
    sentence = f"{shown} means more than {MOST_FILES} files"
    return StepError("TooManyFiles", sentence, hint="name a directory further down")
