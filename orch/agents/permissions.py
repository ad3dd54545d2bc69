"""What the settings let capabilities reach: files, the shell, variables of the environment.

A worker permits what its settings say, once, at its start. Anywhere else (a test, a script that
calls a capability as a function) the settings of the process count.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import PurePath

from orch.errors import StepError
from orch.settings import Settings, load_settings

_SHELLS = frozenset(
    ("sh", "ash", "bash", "csh", "dash", "fish", "ksh", "mksh", "pwsh", "rbash", "tcsh", "zsh")
)
_FIELDS = ("files_root", "shell", "command_environment")


@dataclass(frozen=True)
class Permissions:
    """What capabilities of a process may reach.

    files_root           the directory that no path may leave; None: any path
    shell                whether `/bin/sh` may be run
    command_environment  names of variables that commands get; `*` stands for any characters
    """

    files_root: str | None
    shell: bool
    command_environment: tuple[str, ...]

    @classmethod
    def of(cls, settings: Settings) -> Permissions:
        root = settings.files_root
        return cls(
            None if root is None else os.path.abspath(root),
            settings.shell,
            tuple(settings.command_environment),
        )

    def environment(self, given: Mapping[str, str], also: Sequence[str] = ()) -> dict[str, str]:
        """Those of `given` that a command may see; `also`: more names."""
        names = (*self.command_environment, *also)
        return {
            name: value
            for name, value in given.items()
            if any(fnmatchcase(name, pattern) for pattern in names)
        }

    def check_program(self, program: str) -> None:
        """Raises StepError `ShellForbidden` for a shell, where none may be run."""
        if self.shell or PurePath(program).name not in _SHELLS:
            return
        raise StepError(
            "ShellForbidden",
            f"this worker runs no shell, and {program!r} is one",
            hint="give the command as a list, a program and its arguments; the setting `shell` "
            "of the worker permits shells",
        )


_permitted: Permissions | None = None


def permit(settings: Settings | None) -> None:
    """Let these settings count for all of this process; None: those of the process again."""
    global _permitted
    _permitted = None if settings is None else Permissions.of(settings)


def permissions() -> Permissions:
    """What counts now. Raises SettingsError where the settings of the process are wrong."""
    if _permitted is not None:
        return _permitted
    return _of_process(os.getcwd(), *(os.environ.get(f"ORCH_{name.upper()}") for name in _FIELDS))


@lru_cache(maxsize=16)
def _of_process(directory: str, *variables: str | None) -> Permissions:
    del directory, variables  # what the settings are read from
    return Permissions.of(load_settings())
