"""A Python file that holds a definition. It is run."""

from __future__ import annotations

import runpy
import traceback
from pathlib import Path

from pydantic import ValidationError

from orch.errors import DefinitionError, LoadError
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.loading.failures import broken
from orch.workflows.loading.files import read_text


def load_python(path: Path) -> WorkflowDefinition:
    """The one definition of a module, or the one that is named `workflow`. The file is run."""
    source, text = str(path), read_text(path)
    try:
        names = runpy.run_path(source, run_name=f"orch_workflow_{path.stem}")
    except SyntaxError as error:
        broken(source, text, error.lineno or 1, error.offset or 1, f"no valid Python: {error.msg}")
    except DefinitionError:
        raise
    except (Exception, SystemExit) as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == source]
        line = (frames[-1].lineno or 1) if frames else 1
        what = _first_problem(error) if isinstance(error, ValidationError) else str(error)
        broken(source, text, line, 1, f"raised {type(error).__name__}: {what}")
    found = {name: each for name, each in names.items() if isinstance(each, WorkflowDefinition)}
    chosen = found.get("workflow") or (next(iter(found.values())) if len(found) == 1 else None)
    if chosen is None:
        listed = f"holds {len(found)} ({', '.join(found)})" if found else "holds none"
        raise LoadError(
            f"{path} should hold one WorkflowDefinition, and {listed}",
            source=source,
            hint="name the one that is meant `workflow`",
        )
    return chosen


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
