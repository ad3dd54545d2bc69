"""Files as they are read and written, whatever they hold."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Literal

from orch.errors import LoadError

MAX_BYTES = 1024 * 1024
"""The largest file that is read."""

Format = Literal["yaml", "json"]
FORMATS: dict[str, Format] = {".yaml": "yaml", ".yml": "yaml", ".json": "json"}


def read_text(path: Path) -> str:
    source = str(path)
    try:
        if path.is_dir():
            raise LoadError(
                f"{path} is a directory, not a file", source=source, hint="name a file in it"
            )
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise LoadError(
            f"there is no file {path}",
            source=source,
            hint=f"check the path; it is relative to {Path.cwd()}"
            if not path.is_absolute()
            else "check the path",
        ) from None
    except (OSError, ValueError) as error:
        raise LoadError(f"{path} cannot be read: {error}", source=source) from error
    if len(content) > MAX_BYTES:
        raise too_large(source)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        raise LoadError(
            f"{path}:{line}:{column}: byte 0x{content[error.start]:02x} is not UTF-8",
            source=source,
            line=line,
            column=column,
            hint="save the file as UTF-8",
        ) from None


def too_large(source: str) -> LoadError:
    return LoadError(
        f"{source} is larger than {MAX_BYTES // 1024} KiB",
        source=source,
        hint="hand large data to the execution as its input",
    )


def replace_text(path: Path, text: str) -> None:
    """Write a file, whole or not at all. Raises LoadError."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, path.stat().st_mode & 0o777 if path.exists() else 0o644)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise LoadError(f"{path} cannot be written: {error}", source=str(path)) from error
