"""What the process imports that is forked for each command."""

import importlib
import pkgutil

import orch.cli
import orch.control.manager
import orch.orchestrator
import tests.commands

__all__ = ["orch", "tests"]

for _module in pkgutil.iter_modules(orch.cli.__path__):
    importlib.import_module(f"orch.cli.{_module.name}")
