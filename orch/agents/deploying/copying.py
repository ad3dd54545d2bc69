"""Copies a project into a release, and knows it again by what is in it."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from orch.agents.context import Context
from orch.errors import StepError

NOT_DEPLOYED = (
    *(".*", "__pycache__", "*.pyc", "node_modules", "venv", "deployments", "*.egg-info"),
)
"""Names of what stays behind: what begins with a dot, and what was made from the rest."""


def files_of(source: Path, exclude: Sequence[str]) -> Iterator[Path]:
    """What is deployed of a directory, relative to it, in a fixed order.

    exclude  names, or paths relative to it, with `*` for any characters

    Raises StepError `PathOutsideRoot` for a link that leads out of the directory.
    """
    top = Path(os.path.realpath(source))
    for folder, folders, names in os.walk(top):
        here = Path(folder)
        links = [name for name in folders if (here / name).is_symlink()]
        folders[:] = sorted(
            name
            for name in folders
            if name not in links and not _left_out((here / name).relative_to(top), exclude)
        )
        for name in sorted([*names, *links]):
            path = here / name
            relative = path.relative_to(top)
            if _left_out(relative, exclude):
                continue
            if path.is_symlink():
                _check_link(top, path)
            elif not stat.S_ISREG(path.lstat().st_mode):
                continue  # a socket, a pipe: nothing that could be copied
            yield relative


def copy(source: Path, target: Path, exclude: Sequence[str], context: Context) -> int:
    """Copy what is deployed; how many files it is."""
    count = 0
    top = Path(os.path.realpath(source))
    for count, relative in enumerate(files_of(top, exclude), start=1):
        context.raise_if_cancelled()
        destination = target / relative
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(top / relative, destination, follow_symlinks=False)
        if count % 100 == 0:
            context.heartbeat({"files": count})
    return count


def digest(directory: Path) -> str:
    """SHA-256 of all paths and contents below a directory: the same for the same files."""
    found = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        if path.is_symlink():
            content = os.readlink(path).encode(errors="surrogateescape")
        elif path.is_file():
            content = path.read_bytes()
        else:
            continue
        name = os.fsencode(path.relative_to(directory))
        for part in (name, content):
            found.update(len(part).to_bytes(8, "big") + part)
    return found.hexdigest()


def _left_out(relative: Path, exclude: Sequence[str]) -> bool:
    whole = relative.as_posix()
    return any(
        fnmatchcase(relative.name, pattern) or fnmatchcase(whole, pattern.rstrip("/"))
        for pattern in exclude
    )


def _check_link(top: Path, link: Path) -> None:
    """A link of a release must lead somewhere in the release."""
    destination = os.readlink(link)
    real = os.path.realpath(link)
    if os.path.isabs(destination) or os.path.commonpath([str(top), real]) != str(top):
        raise StepError(
            "PathOutsideRoot",
            f"the link {str(link)!r} leads to {destination!r}, out of what is deployed",
            hint="make it a relative link within the project, or name it in `exclude`",
        )
