"""`git_operations`: makes, clones and commits Git repositories, by the `git` program.

    {"path": "app", "initialize": true}
    {"path": "app", "commitMessage": "Feature: login", "files": "all"}
    {"path": "app", "operation": "clone", "url": "https://example.com/app.git"}

gives `{"path", "url", "hash", "branch", "changed"}`: the repository's directory, its origin (else
its own file:// address), the commit and branch that it is at (null before the first commit), and
whether this call changed anything. Every operation may run again without harm.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

from orch.agents.capability import capability
from orch.agents.context import Context
from orch.agents.files import make_directory, named_errors, resolve
from orch.agents.permissions import permissions
from orch.agents.process import Finished, run, tail, text
from orch.errors import StepError

Operation = Literal["init", "commit", "clone", "status", "log", "branch", "checkout"]

_ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",  # nobody is there to type a password
    "GIT_LITERAL_PATHSPECS": "1",  # a file named `*` is one file
    "LC_ALL": "C.UTF-8",
}
_PASSED = (
    *("GIT_AUTHOR_*", "GIT_COMMITTER_*", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM"),
    *("GIT_CONFIG_SYSTEM", "GIT_SSH", "GIT_SSH_COMMAND", "SSH_AUTH_SOCK", "XDG_CONFIG_HOME"),
)
"""What Git gets of the worker's environment besides what every command gets."""
_DEFAULT_IDENTITY = {"user.name": "orch", "user.email": "orch@localhost"}


@capability("git_operations")
def git_operations(
    path: str,
    operation: Operation | None = None,
    initialize: bool = False,
    commitMessage: str | None = None,  # the name that workflows use
    files: list[str] | Literal["all"] = "all",
    url: str | None = None,
    branch: str | None = None,
    limit: int = 20,
    context: Context | None = None,
) -> dict[str, Any]:
    """Do one thing with a repository.

    operation   else: what `initialize`, `url` or `commitMessage` ask for, else `status`
    initialize  make the repository where there is none, before anything else
    files       what to commit: `all`, or paths in the repository
    branch      of a new repository, a clone, or to make (`branch`) or go to (`checkout`)
    limit       entries of `log`

    Raises StepError: `GitFailed`, `GitMissing`, `InvalidInput`, and those of files.
    """
    if branch is not None and (branch.startswith("-") or not branch):
        raise StepError("InvalidInput", f"{branch!r} cannot be the name of a branch")
    repository = _Repository(resolve(path), context or Context())
    if operation is None:
        operation = _meant(initialize, url, commitMessage)
    changed = repository.init(branch) if initialize or operation == "init" else False
    more: dict[str, Any] = {}
    if operation == "clone":
        changed = repository.clone(url, branch)
    elif operation == "commit":
        changed = repository.commit(commitMessage, files) or changed
    elif operation == "branch":
        changed, more = repository.branch(branch)
    elif operation == "checkout":
        changed = repository.checkout(branch)
    elif operation == "log":
        more = {"commits": repository.log(limit)}
    elif operation == "status":
        more = {"files": repository.status()}
    return {**repository.state(), "changed": changed, **more}


def _ceiling() -> dict[str, str]:
    """Keeps Git from a repository around the root, which it would look for above `path`."""
    root = permissions().files_root
    return {"GIT_CEILING_DIRECTORIES": os.path.dirname(os.path.realpath(root))} if root else {}


def _local(url: str) -> str | None:
    """The path that a URL means; None where it leads to another machine."""
    scheme, separator, rest = url.partition("://")
    if separator:
        return "/" + unquote(rest.partition("/")[2]) if scheme == "file" else None
    host, colon, _ = url.partition(":")
    return None if colon and "/" not in host else url


def _meant(initialize: bool, url: str | None, message: str | None) -> Operation:
    if url is not None:
        return "clone"
    if message is not None:
        return "commit"
    return "init" if initialize else "status"


class _Repository:
    def __init__(self, path: Path, context: Context) -> None:
        self.path = path
        self.context = context

    def init(self, branch: str | None) -> bool:
        if (self.path / ".git").exists():
            return False
        with named_errors("make a repository in", self.path):
            make_directory(self.path)
        self._git("init", "--quiet")
        if self._answer("rev-parse", "--verify", "--quiet", "HEAD") is None:
            self._git("symbolic-ref", "HEAD", f"refs/heads/{branch or 'main'}")
        return True

    def clone(self, url: str | None, branch: str | None) -> bool:
        if not url:
            raise StepError("InvalidInput", "`clone` needs a `url`")
        if (source := _local(url)) is not None:
            # What lies outside of the root is not to be had by a clone, either.
            resolve(os.path.join(self.path.parent, source))
        if (self.path / ".git").exists():
            if self._answer("config", "remote.origin.url") == url:
                return False  # an earlier attempt cloned it
            raise StepError(
                "GitFailed", f"{str(self.path)!r} holds another repository than {url!r}"
            )
        with named_errors("clone into", self.path):
            make_directory(self.path.parent)
        chosen = ["--branch", branch] if branch else []
        # Git clears away what an interrupted clone has written only if it may end by itself.
        draft = self.path.with_name(f".{self.path.name}.orch-clone")
        shutil.rmtree(draft, ignore_errors=True)
        self._git("clone", "--quiet", *chosen, "--", url, str(draft), at=self.path.parent)
        with named_errors("clone into", self.path):
            os.replace(draft, self.path)
        return True

    def commit(self, message: str | None, files: list[str] | Literal["all"]) -> bool:
        if not message or not message.strip():
            raise StepError("InvalidInput", "`commit` needs a `commitMessage`")
        paths = [] if files == "all" else ["--", *files]
        if files == "all" or files:
            self._git("add", "--all", *paths)
        if self._run("diff", "--cached", "--quiet", *paths).exit_code == 0:
            return False
        self._git(*self._identity(), "commit", "--quiet", f"--message={message}", *paths)
        return True

    def branch(self, name: str | None) -> tuple[bool, dict[str, Any]]:
        known = self._git("branch", "--format=%(refname:short)").splitlines()
        if name is None or name in known:
            return False, {"branches": known}
        self._git("branch", name)
        return True, {"branches": sorted([*known, name])}

    def checkout(self, name: str | None) -> bool:
        if name is None:
            raise StepError("InvalidInput", "`checkout` needs a `branch`")
        if self._answer("symbolic-ref", "--short", "HEAD") == name:
            return False
        known = self._answer("rev-parse", "--verify", "--quiet", name) is not None
        self._git("checkout", "--quiet", *([] if known else ["-b"]), name, "--")
        return True

    def log(self, limit: int) -> list[dict[str, str]]:
        if self._answer("rev-parse", "--verify", "--quiet", "HEAD") is None:
            return []
        fields = ("hash", "author", "date", "message")
        lines = self._git("log", f"--max-count={limit}", "--format=%H%x00%an%x00%aI%x00%s")
        return [dict(zip(fields, line.split("\0"), strict=True)) for line in lines.splitlines()]

    def status(self) -> list[dict[str, str]]:
        entries = iter(self._git("status", "--porcelain", "-z").split("\0"))
        found = []
        for entry in entries:
            if entry:
                found.append({"status": entry[:2].strip(), "path": entry[3:]})
            if entry[:1] in ("R", "C"):
                next(entries)  # where it came from
        return found

    def state(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "url": self._answer("config", "remote.origin.url") or self.path.as_uri(),
            "hash": self._answer("rev-parse", "--verify", "--quiet", "HEAD"),
            "branch": self._answer("symbolic-ref", "--short", "--quiet", "HEAD"),
        }

    def _identity(self) -> list[str]:
        """An author, where neither the machine nor the repository names one."""
        variables = {"user.name": "GIT_AUTHOR_NAME", "user.email": "GIT_AUTHOR_EMAIL"}
        unset = [
            key
            for key, variable in variables.items()
            if variable not in os.environ and not self._answer("config", key)
        ]
        return [part for key in unset for part in ("-c", f"{key}={_DEFAULT_IDENTITY[key]}")]

    def _run(self, *arguments: str, at: Path | None = None) -> Finished:
        directory = at or self.path
        if not directory.is_dir():
            raise StepError("FileNotFound", f"there is no directory {str(directory)!r}")
        if shutil.which("git") is None:
            raise StepError(
                "GitMissing", "there is no `git` on this worker", hint="install Git on it"
            )
        program = ["git", *arguments]
        return run(
            program,
            self.context,
            cwd=str(directory),
            environment=_ENVIRONMENT | _ceiling(),
            passed=_PASSED,
        )

    def _git(self, *arguments: str, at: Path | None = None) -> str:
        finished = self._run(*arguments, at=at)
        if finished.exit_code != 0:
            verb = next(part for part in arguments if not part.startswith("-") and "=" not in part)
            said = tail(finished.stderr, 500).strip() or "it wrote nothing to stderr"
            raise StepError(
                "GitFailed",
                f"`git {verb}` in {str(self.path)!r} ended with exit code "
                f"{finished.exit_code}: {said}",
                data={"exit_code": finished.exit_code, "stderr": tail(finished.stderr)},
            )
        return text(finished.stdout)

    def _answer(self, *arguments: str) -> str | None:
        """What a question to Git gives; None where it has no answer."""
        finished = self._run(*arguments)
        return text(finished.stdout).strip() if finished.exit_code == 0 else None
