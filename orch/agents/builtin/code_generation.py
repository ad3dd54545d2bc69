"""`code_generation`: writes a module of Python or JavaScript, of what is specified.

    {"path": "app/src/app/orders.py", "specification": {
        "description": "Orders of a shop",
        "classes": [{"name": "Order", "fields": [{"name": "amount", "type": "number"}]}],
        "functions": [{"name": "total", "returns": "number",
                       "parameters": [{"name": "orders", "type": "list[Order]"}],
                       "body": "return sum(order.amount for order in orders)"}]}}

gives `{"code", "language", "names", "files", "kept"}`. Without `path` nothing is written. What has
no `body` raises an error that says so when it is called.
"""

from __future__ import annotations

from typing import Any

from orch.agents.capability import capability
from orch.agents.context import Context
from orch.agents.files import resolve
from orch.agents.making.javascript import javascript_module
from orch.agents.making.python import python_module
from orch.agents.making.specified import Language, Module
from orch.agents.making.writing import Existing, laid_out, write_all
from orch.errors import StepError

_SUFFIXES: dict[str, Language] = {".py": "python", ".js": "javascript", ".mjs": "javascript"}


@capability("code_generation")
def code_generation(
    specification: Module,
    language: Language | None = None,
    path: str | None = None,
    existing: Existing = "replace",
    context: Context | None = None,
) -> dict[str, Any]:
    """Write the code of a module.

    specification  `description`, `imports`, `constants`, `classes`, `functions`
    language       without it, what the suffix of `path` says, else Python
    path           the file to write
    existing       what becomes of a file that is there with other content

    Raises StepError: `InvalidInput`, `FileExists`, `PathOutsideRoot`, and those of files.
    """
    file = resolve(path) if path else None
    language = language or (_SUFFIXES.get(file.suffix) if file else "python")
    if language is None:
        raise StepError(
            "InvalidInput",
            f"{path!r} does not say which language is meant",
            hint="end it in .py or .js, or give `language`",
        )
    _check(specification)
    write = python_module if language == "python" else javascript_module
    suffix = ".py" if language == "python" else ".js"
    code = laid_out({f"code{suffix}": write(specification)}, context or Context())[f"code{suffix}"]
    told = {"code": code, "language": language, "names": specification.names()}
    if file is None:
        return {**told, "files": [], "kept": []}
    written = write_all(file.parent, {file.name: code}, existing)
    return {**told, "files": written.files, "kept": written.kept}


def _check(specification: Module) -> None:
    names = specification.names()
    if not names:
        raise StepError(
            "InvalidInput", "the `specification` has no constants, classes or functions"
        )
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise StepError("InvalidInput", f"two parts of the `specification` are called {twice!r}")
