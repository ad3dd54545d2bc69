"""Commands about how much there is to do: scale, metrics."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from orch.cli import output
from orch.cli.connection import Connect
from orch.cli.inputs import read_seconds
from orch.cli.option_groups import with_options
from orch.cli.options import Json
from orch.monitoring.advice import Aim

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045

Target = Annotated[
    str,
    typer.Option(
        "--target", metavar="TIME", help="Within which a queue is to be empty: 30s, 5m, 1h."
    ),
]
Slots = Annotated[
    Optional[int],
    typer.Option("--slots", metavar="N", help="Slots of a worker. [those of the ones there are]"),
]
Least = Annotated[int, typer.Option("--min", metavar="N", min=0, help="Advise no fewer workers.")]
Most = Annotated[
    Optional[int], typer.Option("--max", metavar="N", min=0, help="Advise no more workers.")
]


@with_options
def scale(
    capabilities: Annotated[
        Optional[list[str]],
        typer.Argument(metavar="[CAPABILITY]...", help="Only these. By default all."),
    ] = None,
    target: Target = "30s",
    slots: Slots = None,
    least: Least = 0,
    most: Most = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Show what waits for each capability, and how many workers it needs."""
    aim = _aim(target, slots, least, most)
    with connect() as orchestrator:
        loads = orchestrator.get_scaling(capabilities or (), aim)
    if as_json:
        output.print_json([load.model_dump() for load in loads])
        return
    rows = [
        (
            load.capability,
            load.depth,
            _seconds(load.oldest),
            load.busy,
            load.workers,
            load.slots,
            _seconds(load.duration),
            _seconds(load.drain),
            load.advised,
        )
        for load in loads
    ]
    names = ("capability", "depth", "oldest", "running", "workers", "slots", "takes", "drain")
    output.table((*names, "advised"), rows)


@with_options
def metrics(
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Where to listen.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="PORT", help="0: any.")] = 9464,
    target: Target = "30s",
    slots: Slots = None,
    least: Least = 0,
    most: Most = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Serve the same for Prometheus and KEDA, over HTTP, until Ctrl-C."""
    aim = _aim(target, slots, least, most)
    with connect() as orchestrator:
        from orch.monitoring.exporter import serve

        with serve(orchestrator.runtime, host, port, aim) as server:
            url = f"http://{host}:{server.server_port}"
            if as_json:
                output.print_json({"url": url}, compact=True)
            output.say(f"metrics  {url}/metrics\nscale    {url}/scale/CAPABILITY\nCtrl-C ends it")
            try:
                server.serve_forever()
            except (KeyboardInterrupt, SystemExit):
                raise typer.Exit(0) from None


def _aim(target: str, slots: int | None, least: int, most: int | None) -> Aim:
    return Aim(read_seconds("--target", target), slots, least, most)


def _seconds(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:.3g} s" if value < 100 else f"{value:.0f} s"
