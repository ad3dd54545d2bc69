"""Releases of one project in one environment.

    <target>/releases/0001-5f2c…/   one directory for each release, never changed
    <target>/current                a link to the one that counts
    <target>/state.json             what was done, by whom: `{"history": [...]}`
    <target>/.lock                  held while something is done

A release is written under another name and renamed when it is whole; `current` is replaced by a
rename. So whoever reads sees an old release or a new one, whatever dies meanwhile. What was done
is written down before it is done, by the idempotency key of the step, so that an attempt that
runs again comes to the same release instead of a further one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orch.agents.context import Context
from orch.agents.deploying.copying import copy
from orch.agents.files import replace
from orch.errors import StepError

_NAME = re.compile(r"(\d{4,})-[0-9a-f]{12}")
_HISTORY = 200


@dataclass(frozen=True)
class Release:
    """`name`: of its directory; `number`: 1, 2, 3 …, in the order of deployment."""

    name: str
    path: Path

    @property
    def number(self) -> int:
        return int(self.name.partition("-")[0])


class Releases:
    """What is in a target directory. All but reading happens under its lock."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.current_link = target / "current"
        self._releases = target / "releases"
        self._state = target / "state.json"

    @contextlib.contextmanager
    def locked(self, context: Context) -> Iterator[None]:
        """Alone with the target; waits for who is there, as long as the attempt may take."""
        self._releases.mkdir(parents=True, exist_ok=True)
        with open(self.target / ".lock", "a") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    _still_wanted(context, self.target)
                    time.sleep(0.05)
            yield

    def all(self) -> list[Release]:
        """Whole releases, the oldest first."""
        if not self._releases.is_dir():
            return []
        found = [
            Release(path.name, path)
            for path in self._releases.iterdir()
            if _NAME.fullmatch(path.name) and path.is_dir()
        ]
        return sorted(found, key=lambda release: release.number)

    def current(self) -> Release | None:
        """The one that counts."""
        try:
            name = Path(os.readlink(self.current_link)).name
        except OSError:
            return None
        return next((release for release in self.all() if release.name == name), None)

    def of_key(self, key: str) -> Release | None:
        """The release that a step with this key has made."""
        mark = _mark(key)
        return next((found for found in self.all() if found.name.endswith(f"-{mark}")), None)

    def add(self, source: Path, key: str, exclude: Sequence[str], context: Context) -> Release:
        """A new release, whole but not current; the same one for the same key."""
        if (made := self.of_key(key)) is not None:
            return made
        last = self.all()
        numbers = [release.number for release in last]
        name = f"{max([*numbers, self._highest()]) + 1:04d}-{_mark(key)}"
        draft = self._releases / f".{_mark(key)}"
        shutil.rmtree(draft, ignore_errors=True)  # of an attempt that died
        draft.mkdir()
        count = copy(source, draft, exclude, context)
        if count == 0:
            draft.rmdir()
            raise StepError("NothingToDeploy", f"there are no files to deploy in {str(source)!r}")
        path = self._releases / name
        os.replace(draft, path)
        return Release(name, path)

    def switch(self, release: Release) -> None:
        """Make a release the current one, in one step."""
        draft = self.target / ".current"
        draft.unlink(missing_ok=True)
        draft.symlink_to(Path("releases", release.name))
        os.replace(draft, self.current_link)

    def unlink_current(self) -> None:
        """No release counts any more."""
        self.current_link.unlink(missing_ok=True)

    def discard(self, release: Release) -> None:
        """Drop a release that never counted, or no longer does."""
        shutil.rmtree(release.path)

    def prune(self, keep: int) -> list[str]:
        """Drop the oldest releases, never the current one; the names of what was dropped."""
        current = self.current()
        old = self.all()[:-keep]
        dropped = [release for release in old if current is None or release.name != current.name]
        for release in dropped:
            shutil.rmtree(release.path)
        return [release.name for release in dropped]

    # What was done ---------------------------------------------------------------------------

    def history(self) -> list[dict[str, Any]]:
        """The latest entries, the oldest first."""
        try:
            found = json.loads(self._state.read_text(encoding="utf-8"))["history"]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError) as exc:
            raise StepError(
                "NotReadable",
                f"{str(self._state)!r} is not what a deployment writes",
                hint="remove it: the releases stay, what is known of their past goes",
            ) from exc
        return list(found)

    def noted(self, key: str) -> dict[str, Any] | None:
        """What an earlier attempt of a step has begun."""
        return next((entry for entry in self.history() if entry["key"] == key), None)

    def note(self, key: str, action: str, release: str, previous: str | None, **more: Any) -> None:
        """Write down what is about to be done, or what came of it."""
        kept = [entry for entry in self.history() if entry["key"] != key]
        at = datetime.now(UTC).isoformat(timespec="seconds")
        entry = {"key": key, "action": action, "release": release, "previous": previous, "at": at}
        content = json.dumps({"history": [*kept, {**entry, **more}][-_HISTORY:]}, indent=1)
        replace(self._state, content.encode())

    def _highest(self) -> int:
        """Numbers of dropped releases are not used again."""
        numbers = [_NAME.fullmatch(str(entry.get("release"))) for entry in self.history()]
        return max((int(found[1]) for found in numbers if found), default=0)


def _mark(key: str) -> str:
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:12]


def _still_wanted(context: Context, target: Path) -> None:
    context.raise_if_cancelled()
    if context.remaining() == 0:
        raise StepError(
            "DeploymentBusy", f"somebody else deploys to {str(target)!r}", error_class="transient"
        )
