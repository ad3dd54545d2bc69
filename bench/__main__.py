"""``python -m bench``: orch beside plain Celery, on one Redis, in one run."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from bench.report import Rounds, print_table, summary
from bench.systems import SYSTEMS, System
from bench.workloads import QUICK, WORKLOADS, Sizes
from orch.embedded import acquire


def main(arguments: list[str] | None = None) -> int:
    """Run the workloads and print the figures; 1 when a bar is missed in a full run."""
    options = _parser().parse_args(arguments)
    chosen = options.only or list(WORKLOADS)
    sizes = QUICK if options.quick else Sizes()
    log = Console(stderr=True)
    with ExitStack() as stack:
        url = options.redis or _embedded(stack)
        systems = [stack.enter_context(_Running(kind, url)) for kind in SYSTEMS]
        server = systems[0].redis.info()
        rounds: Rounds = {system.name: [] for system in systems}
        for number in range(options.rounds):
            for system in systems:
                rounds[system.name].append({})
            for name in chosen:
                order = systems if number % 2 == 0 else systems[::-1]
                for system in order:
                    log.print(f"round {number + 1}: {name} {system.name}", style="dim")
                    rounds[system.name][-1].update(WORKLOADS[name](system, sizes))
    document = summary(rounds, server)
    if options.json:
        print(json.dumps({**document, "quick": options.quick}, indent=2))
    else:
        print_table(document, Console(width=None if sys.stdout.isatty() else 130))
    missed = [name for name, found in document["metrics"].items() if found["met"] is False]
    return 1 if missed and not options.quick else 0


class _Running:
    """A system with its worker, for the time of a ``with`` block."""

    def __init__(self, kind: type[System], url: str) -> None:
        self.system = kind(url)

    def __enter__(self) -> System:
        try:
            self.system.start_workers()
        except BaseException:
            self.system.stop()
            raise
        return self.system

    def __exit__(self, *_: object) -> None:
        self.system.redis.flushdb()
        self.system.stop()


def _embedded(stack: ExitStack) -> str:
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="orch-bench-"))
    return stack.enter_context(acquire(Path(folder))).url


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="median of so many (default 5)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--only", action="append", choices=list(WORKLOADS), help="a workload; may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all?")
    parser.add_argument(
        "--redis", metavar="URL", help="another Redis; its databases 0, 1 and 2 are EMPTIED"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
