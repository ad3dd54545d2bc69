"""`component_generation`: transforms data, or renders files from Jinja templates.

    {"data": "$.variables.csv", "transformations": [
        {"type": "filter", "where": "amount > 100 && status == 'paid'"},
        {"type": "aggregate", "by": ["region"], "values": {"total": {"sum": "amount"}}},
        {"type": "sort", "by": "total", "descending": true}]}

gives `{"result": rows, "rows": count}` (`orch.agents.transforming`).

    {"path": "src", "components": [{"name": "Button.js", "template": "// {{ name }}"}]}
    {"path": "app", "components": [{"name": "Orders", "file": "src/app/orders.py",
                                    "templateId": "python/service.py"}]}

gives `{"files", "kept", "path"}` (`orch.agents.making.components`). Running again gives the same.
"""

from __future__ import annotations

from typing import Any, Final

from orch.agents.capability import capability
from orch.agents.context import Context
from orch.agents.files import resolve
from orch.agents.making.components import contents
from orch.agents.making.writing import Existing, write_all
from orch.agents.transforming import transform
from orch.errors import StepError

_NOT_GIVEN: Final = object()


@capability("component_generation")
def component_generation(
    data: Any = _NOT_GIVEN,
    transformations: list[dict[str, Any]] | None = None,
    components: list[str | dict[str, Any]] | None = None,
    path: str | None = None,
    suffix: str = ".js",
    existing: Existing = "replace",
    context: Context | None = None,
) -> dict[str, Any]:
    """Transform `data`, or write `components` into the directory `path`.

    components  names, or objects with `name`, and `template` (Jinja; the object's other keys are
                its variables), `templateId` (one that ships) or `content`; without any, a stub.
                `file` says where it goes, if not to `name`
    suffix      of a component whose name has none
    existing    what becomes of a file that is there with other content: `replace`, `keep`, `fail`

    Raises StepError: `InvalidInput`, `UnknownColumn`, `TemplateFailed`, `TemplateNotFound`,
    `FileExists`, `PathOutsideRoot`, and those of files.
    """
    if data is not _NOT_GIVEN or transformations is not None:
        return transform(None if data is _NOT_GIVEN else data, transformations or [])
    if not components:
        return {"files": [], "kept": [], "path": str(resolve(path)) if path else None}
    if not path:
        raise StepError("InvalidInput", "components need a `path`: the directory to write them to")
    directory = resolve(path)
    # All are rendered before any is written: a fault in the last one leaves no files behind.
    texts = contents(components, suffix, context or Context())
    written = write_all(directory, texts, existing)
    return {"files": written.files, "kept": written.kept, "path": str(directory)}
