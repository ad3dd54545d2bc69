"""``python -m bench``: orch beside plain Celery and its peers, in one run."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.drawing import NotDrawn, draw
from bench.peers.client import peers
from bench.progress import Progress
from bench.report import Rounds, markdown, paste, print_tables, summary
from bench.systems.base import Contestant
from bench.systems.canvas import Stock, Tuned
from bench.systems.engine import Orch
from bench.workloads import ALONE, QUICK, WORKLOADS, Sizes
from orch.embedded import acquire

Turn = tuple[int, str, Contestant]
"""A round, a workload, and who runs it."""


def main(arguments: list[str] | None = None) -> int:
    """Run the workloads and print the figures; 1 when a bar is missed in a full run."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all that runs is stopped
    log = Console(stderr=True)
    if options.read:
        document = json.loads(options.read.read_text(encoding="utf-8"))
    else:
        document = measure(options, log)
    if options.json:
        print(json.dumps(document, indent=2))
    elif options.markdown:
        print(markdown(document))
    else:
        print_tables(document, Console(width=None if sys.stdout.isatty() else 150))
    if options.page:
        paste(document, options.page)
    if options.draw:
        try:
            for path in draw(document, options.draw):
                log.print(f"drawn: {path}", style="dim")
        except NotDrawn as exc:
            log.print(str(exc), style="red")
            return 1
    missed = any(found["met"] is False for found in document["metrics"].values())
    return 1 if document["failures"] or (missed and not document["quick"]) else 0


def measure(options: argparse.Namespace, log: Console) -> dict[str, Any]:
    """Run the chosen workloads; what is known afterwards."""
    chosen = [n for n in options.only or WORKLOADS if n not in (options.skip or [])]
    sizes = QUICK if options.quick else Sizes()
    failures: list[str] = []
    with ExitStack() as stack:
        url = options.redis or _embedded(stack)
        systems: list[Contestant] = []
        for made in [Stock(url), Tuned(url), Orch(url)]:
            systems.append(stack.enter_context(made))
        skipped: dict[str, str] = {}
        if not options.no_peers:
            for peer in peers(url, skipped):
                try:
                    systems.append(stack.enter_context(peer))
                    peer.rest()
                except Exception as exc:
                    skipped[peer.name] = str(exc)
        for name, why in skipped.items():
            log.print(f"{name} is left out: {why}", style="yellow")
        server = systems[0].redis.info()  # type: ignore[attr-defined]
        rounds: Rounds = {s.name: [{} for _ in range(options.rounds)] for s in systems}
        turns = _turns(chosen, systems, options.rounds)
        with Progress(log, [WORKLOADS[name].seconds for _, name, _ in turns]) as progress:
            for number, name, system in turns:
                progress.begin(f"round {number + 1}: {name} {system.name}", (name, system.name))
                try:
                    system.wake()
                    rounds[system.name][number].update(WORKLOADS[name].run(system, sizes))
                except Exception as exc:
                    failures.append(f"{name} {system.name}, round {number + 1}: {exc!r}")
                    log.print(failures[-1], style="red")
                finally:
                    system.rest()
    document = summary(rounds, server, {s.name: s.about(sizes.patience) for s in systems})
    return {
        **document,
        "quick": options.quick,
        "patience": sizes.patience,
        "skipped": skipped,
        "failures": failures,
    }


def _turns(chosen: list[str], systems: list[Contestant], rounds: int) -> list[Turn]:
    """In each round, all take part in a workload before the next one; the order alternates."""
    return [
        (number, name, system)
        for number in range(rounds)
        for name in chosen
        if number == 0 or name not in ALONE
        for system in (systems if number % 2 == 0 else systems[::-1])
        if WORKLOADS[name].takes(system)
    ]


def _embedded(stack: ExitStack) -> str:
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="orch-bench-"))
    return stack.enter_context(acquire(Path(folder))).url


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="median of so many (default 5)")
    parser.add_argument(
        "--only", action="append", choices=list(WORKLOADS), help="a workload; may be repeated"
    )
    parser.add_argument(
        "--skip", action="append", choices=list(WORKLOADS), help="not this one; may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all?")
    parser.add_argument(
        "--no-peers", action="store_true", help="only Celery and orch, whatever is installed"
    )
    parser.add_argument(
        "--redis", metavar="URL", help="another Redis; its databases 0 to 5 are EMPTIED"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON instead of tables")
    form.add_argument("--markdown", action="store_true", help="print tables for a page")
    parser.add_argument(
        "--draw", metavar="DIR", type=Path, help="write bench.svg and bench.png into it"
    )
    parser.add_argument(
        "--page", metavar="FILE", type=Path, help="put the tables between the marks of a page"
    )
    parser.add_argument(
        "--read", metavar="FILE", type=Path, help="measure nothing; the JSON of an earlier run"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
