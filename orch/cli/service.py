"""The command service: services outside, which programs and steps call by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orch.cli import output
from orch.cli.connection import Connect
from orch.cli.inputs import read_input
from orch.cli.option_groups import with_options
from orch.cli.options import InputFile, Inputs, Json
from orch.errors import InputError

if TYPE_CHECKING:
    from orch.services.service import ExternalService

service = typer.Typer(
    help="Services outside, which programs and steps call by name. Without a command: list.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the service.")]


@service.callback(invoke_without_command=True)
@with_options
def service_(context: typer.Context, connect: Connect = Connect(), as_json: Json = False) -> None:
    if context.invoked_subcommand is None:
        list_(connect, as_json)


@service.command()
@with_options
def add(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What it is, as YAML or JSON: docs/services.md.")
    ],
    replace: Annotated[
        bool, typer.Option("--replace", help="Also over one of the same name.")
    ] = False,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Register a service."""
    given = _read(file)
    with connect() as orchestrator:
        name = orchestrator.register_external_service(given, replace=replace)
    if as_json:
        output.print_json({"service": name})
    else:
        output.line(f"service {name} is registered")


@service.command("list")
@with_options
def list_(connect: Connect = Connect(), as_json: Json = False) -> None:
    """List the services."""
    with connect() as orchestrator:
        found = orchestrator.list_external_services()
    if as_json:
        output.print_json([each.content() for each in found])
    elif not found:
        output.say("there are none; `orch service add` registers one")
    else:
        rows = [(e.name, e.url, ", ".join(sorted(e.operations))) for e in found]
        output.table(("service", "url", "operations"), rows)


@service.command()
@with_options
def show(name: Name, connect: Connect = Connect(), as_json: Json = False) -> None:
    """Show a service, and what its operations take."""
    with connect() as orchestrator:
        found = orchestrator.get_external_service(name)
    if as_json:
        output.print_json(found.content())
    else:
        _print(found)


@service.command()
@with_options
def call(
    name: Name,
    operation: Annotated[str, typer.Argument(metavar="OPERATION", help="What it is to do.")],
    inputs: Inputs = None,
    input_file: InputFile = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Call an operation from here, with the secrets that are set here; prints the answer."""
    given = read_input(inputs, input_file)
    with connect() as orchestrator:
        found = orchestrator.call_external_service(name, operation, given)
    if as_json or not isinstance(found, str):
        output.print_json(found)
    else:
        output.line(found)


@service.command()
@with_options
def remove(name: Name, connect: Connect = Connect(), as_json: Json = False) -> None:
    """Forget a service. Steps that call it fail from now on."""
    with connect() as orchestrator:
        found = orchestrator.remove_external_service(name)
    if as_json:
        output.print_json({"removed": name if found else None})
    else:
        output.line(f"removed: {name}" if found else f"there was no service {name}")


def _read(file: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as exc:
        raise InputError(f"{file} cannot be read: {exc.strerror}", hint="check the path") from None
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise InputError(f"{file} is no YAML or JSON: {exc}", hint="docs/services.md") from None


def _print(found: ExternalService) -> None:
    for name, value in found.content().items():
        if name != "operations":
            output.line(f"{name}: {value}")
    rows = [
        (name, each.method, each.path, ", ".join(_said(each, p) for p in each.parameters))
        for name, each in sorted(found.operations.items())
    ]
    output.table(("operation", "method", "path", "parameters"), rows)


def _said(operation: Any, parameter: str) -> str:
    return parameter if parameter in operation.needed else f"[{parameter}]"
