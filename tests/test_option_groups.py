from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from orch.cli.app import app
from orch.cli.connection import Connect
from orch.cli.option_groups import with_options

Deck = Annotated[int, typer.Option("--deck", metavar="N", envvar="HARBOUR_DECK", help="Which.")]


@dataclass(frozen=True)
class Berth:
    name: Annotated[str, typer.Option("--berth", help="Where.")] = "north"
    deck: Deck = 1


@pytest.fixture
def landed() -> list[tuple[str, Berth, bool]]:
    return []


@pytest.fixture
def command(landed: list[tuple[str, Berth, bool]]) -> typer.Typer:
    harbour = typer.Typer()

    @harbour.command()
    @with_options
    def land(ship: str, berth: Berth = Berth(), soon: bool = False) -> None:
        """Bring a ship in."""
        landed.append((ship, berth, soon))
        if ship == "barge":
            land("tug", berth, soon=True)

    return harbour


def test_a_command_has_the_fields_in_the_place_of_the_dataclass(command: typer.Typer) -> None:
    (info,) = command.registered_commands
    assert info.callback is not None
    assert list(inspect.signature(info.callback).parameters) == ["ship", "name", "deck", "soon"]
    assert info.callback.__doc__ == "Bring a ship in."
    told = CliRunner().invoke(command, ["--help"]).stdout
    assert told.index("--berth") < told.index("--deck") < told.index("--soon")
    assert "HARBOUR_DECK" in told


@pytest.mark.parametrize(
    ("given", "berth"),
    [
        ([], Berth()),
        (["--berth", "south"], Berth("south")),
        (["--deck", "3", "--berth", "south"], Berth("south", 3)),
    ],
)
def test_a_command_gets_the_dataclass(
    command: typer.Typer, landed: list[tuple[str, Berth, bool]], given: list[str], berth: Berth
) -> None:
    assert CliRunner().invoke(command, ["ferry", *given, "--soon"]).exit_code == 0
    assert landed == [("ferry", berth, True)]


def test_variables_of_the_environment_are_read_as_before(
    command: typer.Typer, landed: list[tuple[str, Berth, bool]]
) -> None:
    CliRunner(env={"HARBOUR_DECK": "7"}).invoke(command, ["ferry"])
    assert landed == [("ferry", Berth(deck=7), False)]


def test_from_python_a_command_is_called_as_it_is_written(
    command: typer.Typer, landed: list[tuple[str, Berth, bool]]
) -> None:
    CliRunner().invoke(command, ["barge", "--deck", "2"])
    assert landed == [("barge", Berth(deck=2), False), ("tug", Berth(deck=2), True)]


def test_two_options_of_one_name_are_refused() -> None:
    def moor(deck: int, berth: Berth = Berth()) -> None: ...

    with pytest.raises(ValueError, match="deck"):
        with_options(moor)


def test_what_says_where_it_connects_to_is_on_the_commands_in_one_order() -> None:
    order = list(inspect.signature(Connect).parameters)
    groups = [app, *(group.typer_instance for group in app.registered_groups)]
    commands = [each.callback for group in groups if group for each in group.registered_commands]
    found = [list(inspect.signature(each).parameters) for each in commands if each]
    connecting = [names for names in found if "broker" in names]
    assert len(connecting) > 90
    for names in connecting:
        assert names[names.index("redis") :][: len(order)] == order
