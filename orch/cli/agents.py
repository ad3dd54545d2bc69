"""The group of commands about agents."""

from __future__ import annotations

import typer

agents = typer.Typer(
    help="Workers, as those who choose among them see them.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
