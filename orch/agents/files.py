"""Files as capabilities touch them: below a root, replaced as a whole, with errors that say what.

The setting `files_root` names a directory that no path may leave, symbolic links included.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

from orch.agents.permissions import permissions
from orch.errors import StepError

_NAMES = {
    errno.ENOENT: ("FileNotFound", "there is no such file or directory"),
    errno.EEXIST: ("FileExists", "it exists already"),
    errno.ENOTEMPTY: ("FileExists", "the directory is not empty"),
    errno.EACCES: ("PermissionDenied", "this worker may not do that"),
    errno.EPERM: ("PermissionDenied", "this worker may not do that"),
    errno.EROFS: ("PermissionDenied", "the file system is read-only"),
    errno.ENOSPC: ("DiskFull", "no space is left on its device"),
    errno.EDQUOT: ("DiskFull", "the disk quota is used up"),
    errno.EISDIR: ("WrongKind", "it is a directory"),
    errno.ENOTDIR: ("WrongKind", "it, or a part of its path, is not a directory"),
}


def resolve(path: str) -> Path:
    """The absolute path that is meant; a relative one starts at the root, where there is one.

    Raises StepError `PathOutsideRoot`, or `InvalidInput` for a path that no file can have.
    """
    if not path or "\0" in path:
        raise StepError("InvalidInput", f"{path!r} cannot be the path of a file")
    root = permissions().files_root
    if not root:
        return Path(os.path.abspath(path))
    # Both sides with their links followed: a link inside may point outside.
    real_root = os.path.realpath(root)
    real = os.path.realpath(os.path.join(real_root, path))
    if os.path.commonpath([real_root, real]) != real_root:
        raise outside(path, root)
    return Path(real)


def working_directory(path: str | None) -> str | None:
    """Where a command runs that is to run in `path`: below the root, where there is one.

    Raises StepError `PathOutsideRoot`, or `InvalidInput`.
    """
    if path is None:
        return permissions().files_root
    return str(resolve(path))


def inside(directory: Path, name: str) -> Path:
    """The path of `name` below `directory`. Raises StepError `PathOutsideRoot`."""
    real = os.path.realpath(directory)
    path = os.path.realpath(os.path.join(real, name))
    if "\0" in name or path == real or os.path.commonpath([real, path]) != real:
        raise outside(name, str(directory))
    return Path(path)


def outside(path: str, root: str) -> StepError:
    return StepError(
        "PathOutsideRoot",
        f"the path {path!r} leads out of {root!r}",
        hint="give a path below it; ORCH_FILES_ROOT sets the root of this worker's files",
    )


@contextlib.contextmanager
def named_errors(doing: str, path: Path) -> Iterator[None]:
    """Turns an OSError into a StepError that names what was done to which path."""
    try:
        yield
    except OSError as exc:
        name, reason = _NAMES.get(exc.errno or 0, ("FileError", exc.strerror or str(exc)))
        raise StepError(name, f"cannot {doing} {str(path)!r}: {reason}") from exc


def make_directory(path: Path) -> None:
    """Make a directory and its parents where they are missing."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as exc:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from exc


def replace(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new, never a part.

    Parent directories are made; a link is followed; a device or pipe is written to as it is.
    """
    target = Path(os.path.realpath(path))
    make_directory(target.parent)
    mode = target.stat().st_mode if target.exists() else None
    if mode is not None and stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a directory", str(path))
    if mode is not None and not stat.S_ISREG(mode):
        target.write_bytes(content)
        return
    draft = target.with_name(f".orch-{uuid.uuid4().hex}.tmp")
    try:
        _write_synced(draft, content, None if mode is None else stat.S_IMODE(mode))
        os.replace(draft, target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    _sync_directory(target.parent)


def _write_synced(path: Path, content: bytes, mode: int | None) -> None:
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        if mode is not None:
            os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    """Makes a rename durable, where the system can."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
