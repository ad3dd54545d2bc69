"""The command flower, and Flower as a child of ``orch dev`` that ends with it:
python -m orch.cli.flower PORT"""

from __future__ import annotations

import ipaddress
import os
import sys
import threading
import time
from typing import Annotated, Optional

import typer

from orch.cli import output
from orch.cli.connection import Connect
from orch.cli.option_groups import with_options
from orch.cli.options import Json
from orch.errors import OrchError, SettingsError

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045

COLUMNS = "name,args,state,received,runtime,worker,uuid"
"""Of the page of tasks: `args` reads `project_setup/review_code #1 (exec 04021af5d8ad9202)`."""

AUTH_VARIABLES = ("FLOWER_BASIC_AUTH", "FLOWER_AUTH")
"""What Flower itself reads: name and password, or whom another party may let in."""


@with_options
def flower(
    port: Annotated[int, typer.Option("--port", metavar="PORT", help="Where to listen.")] = 5555,
    address: Annotated[
        str, typer.Option("--address", metavar="ADDRESS", help="Of this machine.")
    ] = "127.0.0.1",
    basic_auth: Annotated[
        Optional[str],
        typer.Option(
            "--basic-auth",
            metavar="NAME:PASSWORD",
            envvar="FLOWER_BASIC_AUTH",
            help="Who may look; several with commas.",
        ),
    ] = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Show workers, steps and queues in a browser, until Ctrl-C.

    Workers tell of their steps where they were started with -E, as by `orch dev --flower`.
    """
    check_access(address, basic_auth)
    require_flower()
    with connect() as orchestrator:
        url = f"http://{address}:{port}"
        if as_json:
            output.print_json({"url": url}, compact=True)
        output.say(f"Flower   {url}\nCtrl-C ends it")
        arguments = flower_arguments(port, address)
        arguments += [f"--basic-auth={basic_auth}"] if basic_auth else []
        try:
            orchestrator.runtime.app.start(arguments)
        except (KeyboardInterrupt, SystemExit) as ended:
            code = getattr(ended, "code", 0)
            raise typer.Exit(code if isinstance(code, int) and code != 143 else 0) from None


def flower_arguments(port: int | str, address: str) -> list[str]:
    return ["flower", f"--port={port}", f"--address={address}", f"--tasks-columns={COLUMNS}"]


def require_flower() -> None:
    """Raises SettingsError where Flower is not installed."""
    import importlib.util

    if importlib.util.find_spec("flower") is None:
        raise SettingsError("Flower is not installed", hint="pip install 'orch[flower]'")


def check_access(address: str, basic_auth: str | None) -> None:
    """Raises SettingsError where everybody could look, and shut workers down."""
    if basic_auth is not None and not all(":" in each for each in basic_auth.split(",")):
        raise SettingsError(
            "--basic-auth names somebody without a password", hint="write it as NAME:PASSWORD"
        )
    if basic_auth or any(os.environ.get(name) for name in AUTH_VARIABLES) or is_local(address):
        return
    raise SettingsError(
        f"Flower at {address} would let everybody look at steps and end workers",
        hint="give --basic-auth NAME:PASSWORD (or FLOWER_BASIC_AUTH), or leave --address away",
    )


def is_local(address: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


def main(port: str) -> None:
    from orch.app import create_app
    from orch.control.workers import PARENT_VARIABLE
    from orch.server import find_server
    from orch.settings import load_settings

    parent = int(os.environ[PARENT_VARIABLE])
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    try:
        settings = load_settings()
        app = create_app(settings, find_server(settings).url)
    except OrchError as error:
        print(error.message, file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    app.start(flower_arguments(port, "127.0.0.1"))


if __name__ == "__main__":
    main(sys.argv[1])
