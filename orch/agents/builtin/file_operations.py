"""`file_operations`: writes, reads and moves files.

    {"path": "out/report.csv", "data": [{"region": "North", "total": 12.5}]}      writes
    {"operation": "read", "path": "out/report.csv"}
    {"operation": "move", "path": "a.txt", "destination": "b.txt"}

gives `{"path": absolute path, "bytes": size, ...}`. Without `operation`, data is written and a
path alone is read. The format follows the suffix (.json, .csv, .yaml, else text); a text is
written as it is. Every operation but `append` may run again without harm.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from orch.agents.capability import capability
from orch.agents.files import make_directory, named_errors, replace, resolve
from orch.errors import StepError

Operation = Literal["write", "read", "append", "copy", "move", "delete", "exists", "list", "mkdir"]
Format = Literal["text", "json", "csv", "yaml"]
_FORMATS: dict[str, Format] = {".json": "json", ".csv": "csv", ".yaml": "yaml", ".yml": "yaml"}
_NOT_GIVEN: Final = object()


@capability("file_operations")
def file_operations(
    path: str,
    data: Any = _NOT_GIVEN,
    operation: Operation | None = None,
    destination: str | None = None,
    format: Format | None = None,
    encoding: str = "utf-8",
    limit: int = 16 << 20,
) -> dict[str, Any]:
    """Do one thing with a file or directory.

    destination  for `copy` and `move`
    limit        bytes that `read` takes at most

    Raises StepError: `FileNotFound`, `FileExists`, `PermissionDenied`, `DiskFull`, `WrongKind`,
    `FileError`, `PathOutsideRoot`, `FileTooLarge`, `NotReadable`, `InvalidInput`.
    """
    target = resolve(path)
    if operation is None:
        operation = "read" if data is _NOT_GIVEN else "write"
    if operation in ("write", "append") and data is _NOT_GIVEN:
        raise StepError("InvalidInput", f"`{operation}` to {path!r} needs `data`")
    with named_errors(operation, target):
        if operation in ("copy", "move"):
            return _copy_or_move(operation, target, destination)
        if operation == "read":
            return _read(target, _format(target, format), encoding, limit)
        if operation in ("write", "append"):
            content = _encoded(_as_text(data, _format(target, format)), encoding)
            return (_write if operation == "write" else _append)(target, content, data)
        return _SIMPLE[operation](target)


def _format(path: Path, given: Format | None) -> Format:
    return given or _FORMATS.get(path.suffix.lower(), "text")


# Writing -------------------------------------------------------------------------------------


def _write(path: Path, content: bytes, data: Any) -> dict[str, Any]:
    replace(path, content)
    rows = {"rows": len(data)} if isinstance(data, list) else {}
    return {"path": str(path), "bytes": len(content), **rows}


def _append(path: Path, content: bytes, data: Any) -> dict[str, Any]:
    make_directory(path.parent)
    with open(path, "ab") as file:
        file.write(content)
    return {"path": str(path), "bytes": len(content)}


def _encoded(content: str, encoding: str) -> bytes:
    try:
        return content.encode(encoding)
    except (LookupError, UnicodeEncodeError) as exc:
        raise StepError("InvalidInput", f"`data` cannot be written as {encoding!r}: {exc}") from exc


def _as_text(data: Any, format: Format) -> str:
    if isinstance(data, str):
        return data
    if format == "csv" and isinstance(data, list | dict):
        return _as_csv(data if isinstance(data, list) else [data])
    if format == "yaml":
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _as_csv(rows: list[Any]) -> str:
    """Objects get a header with every key, in order of appearance; lists are rows as they are."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = list(dict.fromkeys(key for row in rows if isinstance(row, dict) for key in row))
    if columns:
        writer.writerow(columns)
    for number, row in enumerate(rows, start=1):
        if isinstance(row, dict):
            writer.writerow([_cell(row.get(column)) for column in columns])
        elif isinstance(row, list) and not columns:
            writer.writerow([_cell(value) for value in row])
        else:
            raise StepError(
                "InvalidInput",
                f"row {number} of `data` is {type(row).__name__}; CSV takes only objects, or only "
                "lists",
            )
    return out.getvalue()


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


# Reading -------------------------------------------------------------------------------------


def _read(path: Path, format: Format, encoding: str, limit: int) -> dict[str, Any]:
    with open(path, "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise StepError(
            "FileTooLarge",
            f"{str(path)!r} has more than {limit} bytes",
            hint="raise `limit`, or hand on the path and not the content",
        )
    try:
        data = _parsed(content.decode(encoding), format)
    except (ValueError, LookupError, csv.Error, yaml.YAMLError) as exc:
        sentence = f"{str(path)!r} is not {format} in {encoding}: {exc}"
        raise StepError("NotReadable", sentence) from exc
    return {"path": str(path), "bytes": len(content), "data": data}


def _parsed(content: str, format: Format) -> Any:
    if format == "json":
        return json.loads(content)
    if format == "yaml":
        return yaml.safe_load(content)
    if format == "csv":
        return list(csv.DictReader(io.StringIO(content, newline=""), restkey="", restval=""))
    return content


# The rest ------------------------------------------------------------------------------------


def _copy_or_move(operation: str, source: Path, destination: str | None) -> dict[str, Any]:
    if destination is None:
        raise StepError("InvalidInput", f"`{operation}` needs a `destination`")
    target = resolve(destination)
    done = operation == "move" and not source.exists() and target.exists()
    if not done:  # else an earlier attempt moved it
        make_directory(target.parent)
        if operation == "move":
            os.replace(source, target)
        elif source.is_dir():
            shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
        else:
            replace(target, source.read_bytes())
    size = 0 if target.is_dir() else target.stat().st_size
    return {"path": str(target), "source": str(source), "bytes": size}


def _delete(path: Path) -> dict[str, Any]:
    existed = path.is_symlink() or path.exists()
    if existed and path.is_dir() and not path.is_symlink():
        path.rmdir()
    elif existed:
        path.unlink()
    return {"path": str(path), "deleted": existed}


def _exists(path: Path) -> dict[str, Any]:
    return {"path": str(path), "exists": path.exists(), "directory": path.is_dir()}


def _list(path: Path) -> dict[str, Any]:
    return {"path": str(path), "entries": sorted(os.listdir(path))}


def _mkdir(path: Path) -> dict[str, Any]:
    make_directory(path)
    return {"path": str(path)}


_SIMPLE: dict[str, Callable[[Path], dict[str, Any]]] = {
    "delete": _delete,
    "exists": _exists,
    "list": _list,
    "mkdir": _mkdir,
}
