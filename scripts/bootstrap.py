"""Make ``.venv`` and install the project into it: ``python bootstrap.py run|test``.

Runs on any Python >= 3.11 with nothing installed; ``make`` calls it. It installs the exact,
hash-checked versions of the lock files, then the project itself, editable and without build
isolation (the build backend is in the lock as well, so nothing is fetched past the hashes).

A lock cannot foresee every machine: where a pinned version can neither be fetched nor built,
the ranges of ``pyproject.toml`` are installed instead, and a line on stderr says so. A file
whose hash is wrong is never a reason for that: it stops here.

Safe to run twice at once: a file lock, which the kernel drops when its holder dies, lets one
through; the others then find the stamp, which holds a digest of all that was installed from.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
OLDEST = (3, 11)

LOCKS = {
    "run": ["requirements.lock", "requirements-build.lock"],
    "test": ["requirements-dev.lock"],
}
RANGES = {"run": ".[all]", "test": ".[test]"}
PIP = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
WRONG_HASH = "DO NOT MATCH THE HASHES"


def main(arguments: list[str]) -> int:
    if sys.version_info < OLDEST:
        return _say(
            f"Python {OLDEST[0]}.{OLDEST[1]} or newer is needed, {sys.executable} is "
            f"{sys.version.split()[0]}; name one: make PYTHON=/path/to/python3"
        )
    if len(arguments) != 1 or arguments[0] not in LOCKS:
        return _say(f"usage: bootstrap.py {'|'.join(LOCKS)}, found {' '.join(arguments)!r}")
    group = arguments[0]
    mode = os.environ.get("LOCKED", "auto")
    if mode not in {"auto", "yes", "no"}:
        return _say(f"LOCKED is auto, yes or no, found {mode!r}")
    with _one_at_a_time():
        return _install(group, mode)


def _install(group: str, mode: str) -> int:
    if not _usable() and (failed := _create()):
        return failed
    stamp = VENV / f".installed-{group}"
    digest = _digest(group, mode)
    if stamp.is_file() and stamp.read_text() == digest:
        stamp.touch()  # make compares times, which a fresh checkout changes
        return 0
    print(f"installing into {VENV.name} ({group}) ...", file=sys.stderr, flush=True)
    if mode == "no":
        done = _pip("-e", RANGES[group])
    else:
        done = _pip_locked(group)
        if done.returncode and mode == "auto" and WRONG_HASH not in done.stdout:
            _say(
                f"{done.stdout}\nthe lock cannot be installed here (above); taking the ranges "
                "of pyproject.toml instead; `make LOCKED=yes` forbids that"
            )
            done = _pip("-e", RANGES[group])
    if done.returncode:
        return _say(f"{done.stdout}\ninstalling into {VENV} failed (above)")
    stamp.write_text(digest)
    return 0


def _pip_locked(group: str) -> subprocess.CompletedProcess[str]:
    requirements = [part for lock in LOCKS[group] for part in ("-r", lock)]
    done = _pip("--require-hashes", *requirements)
    return done if done.returncode else _pip("--no-deps", "--no-build-isolation", "-e", ".")


def _pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    # Kept back, and shown only when it fails: a mirror's warnings bury the line that matters.
    return subprocess.run(
        [str(PYTHON), *PIP, *arguments],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def _usable() -> bool:
    if not PYTHON.exists():
        return False
    check = f"import sys, pip; sys.exit(sys.version_info < {OLDEST})"
    return subprocess.run([str(PYTHON), "-c", check], capture_output=True).returncode == 0


def _create() -> int:
    done = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(VENV)],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        return _say(
            f"{done.stdout}\n{sys.executable} cannot make a virtual environment (above); on "
            "Debian and Ubuntu install python3-venv, or name another: make PYTHON=..."
        )
    return 0


def _digest(group: str, mode: str) -> str:
    digest = hashlib.sha256(f"{mode} {ROOT} {os.path.realpath(PYTHON)}".encode())
    for name in ("pyproject.toml", "scripts/bootstrap.py", *LOCKS[group]):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # Windows has no make either; there one is enough
        yield
        return
    # Outside of .venv, which `--clear` empties while the lock is held.
    name = hashlib.sha256(str(ROOT).encode()).hexdigest()[:16]
    with open(Path(tempfile.gettempdir()) / f"orch-venv-{os.getuid()}-{name}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _say(text: str) -> int:
    print(text.strip(), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
