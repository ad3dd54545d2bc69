"""How an execution is found: the heads under which the index of its partition has it.

A member of the index is ``head started execution``: the head ends with a blank, `started` has
13 digits (ms), the execution ends the member. All have score 0, so they lie in the order of
their bytes: under each head the executions in the order of their start.

    srunning                          by its status
    worders 3f2a1b4c5d6e running      by workflow, version and status
    eTimeoutError                     by the name of its error
    acustomer=acme                    by an attribute
    p4ac6f1d2e3b4a5c6                 by the execution that called it
    d                                 completed with holes

The scripts that change a status write the first three and the last themselves (`index.lua`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote, unquote

from orch.workflows.calls import Call
from orch.workflows.holes import DEGRADED_FIELD
from orch.workflows.state import ExecutionStatus

DIGITS = 13
TOP = "\x7f"
"""Sorts behind every instant."""


LONGEST = 100
"""Characters of a name or value in a head; the records tell longer ones apart."""


@lru_cache(1000)
def quoted(text: str) -> str:
    """Without blanks, and in ASCII; as `index.lua` does it."""
    return quote(text, safe="", errors="surrogatepass")


DEGRADED = "d "


def of_status(status: str) -> str:
    return f"s{status} "


def of_kind(workflow: str, version: str | None = None) -> str:
    """The beginning of the heads of a workflow, or of one version of it."""
    return f"w{quoted(workflow)} " + (f"{version} " if version is not None else "")


def of_error(name: str) -> str:
    return f"e{quoted(name[:LONGEST])} "


def of_attribute(name: str, value: object) -> str:
    return f"a{quoted(name)}={quoted(attribute_text(value)[:LONGEST])} "


def of_parent(execution: str) -> str:
    return f"p{quoted(execution)} "


def attribute_text(value: object) -> str:
    """An attribute as it is written on a command line: 5 and "5", true and "true" are one."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value)


def kind_text(workflow: str, version: str) -> str:
    return f"{quoted(workflow)} {version}"


def kind_of(text: str) -> tuple[str, str]:
    """(workflow, version) of such a text."""
    workflow, version = text.split(" ")
    return unquote(workflow, errors="surrogatepass"), version


def instant(ms: int) -> str:
    return f"{max(ms, 0):0{DIGITS}d}"


def place(member: str) -> str:
    """``started execution``: where a member stands among all of its head, and of others."""
    return member.rpartition(" ")[2]


def execution_of(member: str) -> str:
    return place(member)[DIGITS:]


def heads_of(record: Mapping[str, str]) -> list[str]:
    """All heads of an execution, from the texts of its record."""
    heads = [
        of_status(record["status"]),
        f"{of_kind(record['workflow'], record['version'])}{record['status']} ",
    ]
    if name := error_name(record.get("error")):
        heads.append(of_error(name))
    for attribute, value in json.loads(record.get("attributes", "{}")).items():
        heads.append(of_attribute(attribute, value))
    if DEGRADED_FIELD in record and record["status"] == ExecutionStatus.COMPLETED:
        heads.append(DEGRADED)
    if "parent" in record:
        heads.append(of_parent(Call.loads(record["parent"]).execution))
    return heads


def members_of(execution: str, record: Mapping[str, str]) -> list[str]:
    """What the index of its partition holds of an execution."""
    found = f"{instant(int(record['created']))}{execution}"
    return [f"{head}{found}" for head in heads_of(record)]


def error_name(error: str | None) -> str:
    """The name of an error, from its JSON; '' when there is none."""
    found = json.loads(error) if error else None
    return str(found.get("name") or "") if isinstance(found, dict) else ""
