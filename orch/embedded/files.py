"""What lies in a data directory, and what its file of state says."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Files:
    """What lies in a data directory."""

    root: Path

    @property
    def users_lock(self) -> Path:
        return self.root / "users.lock"

    @property
    def start_lock(self) -> Path:
        return self.root / "start.lock"

    @property
    def keeper_lock(self) -> Path:
        return self.root / "keeper.lock"

    @property
    def server_lock(self) -> Path:
        return self.root / "server.lock"

    @property
    def state(self) -> Path:
        return self.root / "server.json"

    @property
    def server_log(self) -> Path:
        return self.root / "server.log"

    @property
    def keeper_log(self) -> Path:
        return self.root / "keeper.log"

    @property
    def redis(self) -> Path:
        return self.root / "redis"

    def create(self) -> None:
        """Make the directory, for its owner only. One that exists keeps its mode."""
        with contextlib.suppress(FileExistsError):
            self.root.parent.mkdir(parents=True, exist_ok=True)
            self.root.mkdir(mode=0o700)
            (self.root / ".gitignore").write_text("*\n")  # it holds a password
        if not self.root.is_dir():
            raise NotADirectoryError(f"{self.root} is not a directory")

    def read_state(self) -> dict[str, Any]:
        """What `server.json` says, or nothing if it is missing or damaged."""
        try:
            state = json.loads(self.state.read_text())
            if type(state["port"]) is int and type(state["password"]) is str:
                return dict(state)
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return {}

    def write_state(self, state: dict[str, Any]) -> None:
        draft = self.state.with_suffix(".json.new")
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(fd, "w") as file:
            json.dump(state, file)
        draft.replace(self.state)

    @staticmethod
    def is_current(fd: int, path: Path) -> bool:
        """Whether `path` is still the file open as `fd`: false once the directory is replaced."""
        try:
            return os.path.samestat(os.fstat(fd), path.stat())
        except OSError:
            return False
