"""`deployment`: deploys a project to a directory of this machine, as releases.

    {"path": "app", "environment": "staging", "healthCheck": {"file": "index.html"}}
    {"path": "app", "environment": "staging", "operation": "rollback"}

gives `{"url", "path", "release", "previous", "environment", "checks", "healthy", ...}`: `path` is
the link `current` to the release that counts (`orch.agents.deploying.releases`). Each operation
may run again without harm: a step makes one release, and goes back by one.
"""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from orch.agents.capability import capability
from orch.agents.context import Context
from orch.agents.deploying.copying import NOT_DEPLOYED, digest
from orch.agents.deploying.health import HealthCheck, check_release, check_service
from orch.agents.deploying.releases import Release, Releases
from orch.agents.files import named_errors, resolve
from orch.errors import StepError

Operation = Literal["deploy", "rollback", "status"]
_ENVIRONMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


@capability("deployment")
def deployment(
    path: str,
    environment: str = "development",
    operation: Operation = "deploy",
    target: str | None = None,
    release: str | None = None,
    healthCheck: HealthCheck | None = None,
    exclude: list[str] | None = None,
    keep: Annotated[int, Field(ge=1, le=1000)] = 5,
    context: Context | None = None,
) -> dict[str, Any]:
    """Deploy a directory, go back to an earlier release, or tell which one counts and how it is.

    path         directory of the project
    environment  its name is a part of the default target
    target       directory of the releases; without it, `deployments/<project>/<environment>`
    release      what `rollback` goes to; without it, the one before the current one
    healthCheck  what must hold of the release, see `HealthCheck`; else the old one stays
    exclude      names and paths that stay behind, besides hidden and generated ones
    keep         how many releases are kept

    Raises StepError: `DeploymentUnhealthy`, `NothingToDeploy`, `NoRelease`, `DeploymentBusy`,
    `InvalidInput`, and those of files.
    """
    context = context or Context(execution_id=uuid.uuid4().hex)
    if not _ENVIRONMENT.fullmatch(environment):
        raise StepError("InvalidInput", f"{environment!r} cannot be the name of an environment")
    source = resolve(path)
    place = resolve(target or f"deployments/{source.name or 'project'}/{environment}")
    work = _Deployment(source, Releases(place), healthCheck or HealthCheck(), context)
    with named_errors("deploy to", place):
        if operation == "status":
            return {**work.state(environment), **work.health()}
        with work.releases.locked(context):
            if operation == "rollback":
                more = work.go_back(release)
            else:
                more = work.deploy([*NOT_DEPLOYED, *(exclude or [])], keep)
            return {**work.state(environment), **more}


class _Deployment:
    def __init__(
        self, source: Path, releases: Releases, wanted: HealthCheck, context: Context
    ) -> None:
        self.source = source
        self.releases = releases
        self.wanted = wanted
        self.context = context
        self.key = context.idempotency_key

    def deploy(self, exclude: list[str], keep: int) -> dict[str, Any]:
        if not self.source.is_dir():
            raise StepError("FileNotFound", f"there is no directory {str(self.source)!r}")
        noted = self.releases.noted(self.key)
        if noted and noted["action"] == "deployed" and self.releases.of_key(self.key):
            return {"changed": False, "previous": noted["previous"], "checks": noted["checks"]}
        current = self.releases.current()
        previous = noted["previous"] if noted else current.name if current else None
        made = self.releases.add(
            self.source, self.key, [*exclude, *self._own_target()], self.context
        )
        self.releases.note(self.key, "deploy", made.name, previous)
        checks = self._healthy(check_release(made.path, self.wanted, self.context), made, previous)
        self.releases.switch(made)
        checks += self._healthy(check_service(self.wanted, self.context), made, previous)
        self.releases.note(self.key, "deployed", made.name, previous, checks=checks)
        removed = self.releases.prune(keep)
        return {"changed": True, "previous": previous, "checks": checks, "removed": removed}

    def go_back(self, release: str | None) -> dict[str, Any]:
        noted = self.releases.noted(self.key)
        current = self.releases.current()
        chosen = self._chosen(noted["release"] if noted else release, current)
        previous = noted["previous"] if noted else current.name if current else None
        changed = current is None or current.name != chosen.name
        if noted is None:
            self.releases.note(self.key, "rollback", chosen.name, previous)
        if noted is None or noted["action"] == "rollback":
            self.releases.switch(chosen)
            self.releases.note(self.key, "rolled back", chosen.name, previous)
        return {"changed": changed, "previous": previous, "checks": []}

    def state(self, environment: str) -> dict[str, Any]:
        """What counts now; null where nothing does."""
        current = self.releases.current()
        link = self.releases.current_link
        return {
            "url": link.as_uri() if current else None,
            "path": str(link) if current else None,
            "release": current.name if current else None,
            "digest": digest(current.path) if current else None,
            "environment": environment,
            "healthy": current is not None,
            "releases": [release.name for release in self.releases.all()],
        }

    def health(self) -> dict[str, Any]:
        """Whether what counts now is well; nothing is changed if it is not."""
        current = self.releases.current()
        if current is None:
            return {"checks": []}
        checks = check_release(current.path, self.wanted, self.context)
        checks += check_service(self.wanted, self.context)
        return {"checks": checks, "healthy": all(check["passed"] for check in checks)}

    def _chosen(self, name: str | None, current: Release | None) -> Release:
        known = self.releases.all()
        if name is not None:
            found = [release for release in known if release.name == name]
        else:
            below = current.number if current else 0
            found = [release for release in known if release.number < below]
        if not found:
            which = f"is no release {name!r}" if name else "is no release before the current one"
            there = ", ".join(release.name for release in known) or "none"
            raise StepError(
                "NoRelease",
                f"there {which} in {str(self.releases.target)!r}; there are: {there}",
            )
        return found[-1]

    def _own_target(self) -> list[str]:
        """The target stays behind where it lies in what is deployed."""
        source, target = os.path.realpath(self.source), os.path.realpath(self.releases.target)
        if os.path.commonpath([source, target]) != source:
            return []
        return [Path(target).relative_to(source).as_posix()]

    def _healthy(
        self, checks: list[dict[str, Any]], made: Release, previous: str | None
    ) -> list[dict[str, Any]]:
        """The checks, if all passed; else the old release counts, as before."""
        bad = next((check for check in checks if not check["passed"]), None)
        if bad is None:
            return checks
        old = next((found for found in self.releases.all() if found.name == previous), None)
        current = self.releases.current()
        if current is not None and current.name == made.name:
            if old is None:
                self.releases.unlink_current()
            else:
                self.releases.switch(old)
        self.releases.note(self.key, "refused", made.name, previous)
        self.releases.discard(made)
        kept = f"{previous!r} is current" if old else "there is no release before it"
        raise StepError(
            "DeploymentUnhealthy",
            f"release {made.name!r} is not well: {bad['check']}: {bad['message']}; {kept}",
            data={"release": made.name, "current": previous, "checks": checks},
        )
