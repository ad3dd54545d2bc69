"""Definitions in and out: YAML, JSON and Python files, and the library of the package.

YAML is read by the core schema of YAML 1.2: `yes`, `no`, `on`, `off`, dates and `12:30` are
text, and a key is always text, so that the branches `true:` and `false:` need no quotes.
A file is read, nothing else is touched; a broken one raises LoadError with line and column.
"""

from orch.workflows.loading.catalog import find_beside, library_definition, library_names
from orch.workflows.loading.changes import load_changes
from orch.workflows.loading.files import MAX_BYTES, Format
from orch.workflows.loading.reading import (
    Parameters,
    filled,
    load_definition,
    load_document,
    loads,
    parse_definition,
)
from orch.workflows.loading.writing import dumps, save_definition

__all__ = [
    "MAX_BYTES",
    "Format",
    "Parameters",
    "dumps",
    "filled",
    "find_beside",
    "library_definition",
    "library_names",
    "load_changes",
    "load_definition",
    "load_document",
    "loads",
    "parse_definition",
    "save_definition",
]
