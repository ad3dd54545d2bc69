"""Commands about workers: workers, worker, dev."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Optional

import typer

from orch.cli import output
from orch.cli.connection import Connect, check_broker
from orch.cli.flower import require_flower
from orch.cli.option_groups import with_options
from orch.cli.options import Include, Json, Pool
from orch.errors import OrchError

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045

if TYPE_CHECKING:
    from orch.control.workers import WorkerProcesses
    from orch.orchestrator import Orchestrator
    from orch.settings import Settings

LOG_LIMIT = 10_000_000
"""Bytes of the workers' log, which is shown as it comes, before it begins anew."""
TICK = 0.2

Concurrency = Annotated[
    int, typer.Option("--concurrency", "-c", metavar="N", min=1, help="Steps at a time in each.")
]
PoolOption = Annotated[Pool, typer.Option("--pool", help="How it runs several steps at a time.")]


@with_options
def workers(connect: Connect = Connect(), as_json: Json = False) -> None:
    """List the live workers, and the capabilities that they serve."""
    with connect() as orchestrator:
        found = [worker_object(w) for w in orchestrator.runtime.journal.live_workers()]
    found.sort(key=lambda worker: str(worker["name"]))
    if as_json:
        output.print_json(found)
        return
    rows = [
        (
            w["name"],
            w["pid"],
            w["pool"],
            w["concurrency"],
            len(w["running"]),
            "draining" if w["draining"] else ", ".join(w["serves"]),
        )
        for w in found
    ]
    output.table(("worker", "pid", "pool", "slots", "running", "serves"), rows)


def worker_object(said: dict[str, Any]) -> dict[str, Any]:
    """What a worker said of itself -> what `workers --json` prints."""
    return {
        "id": said["id"],
        "name": said.get("name") or said["id"],
        "host": said.get("host"),
        "pid": said.get("pid"),
        "pool": said.get("pool"),
        "concurrency": said.get("concurrency"),
        "serves": said.get("queues", []),
        "draining": bool(said.get("draining")),
        "running": [
            {"execution": execution, "path": path}
            for execution, _, path in (held.partition(" ") for held in said.get("holds", []))
        ],
    }


@with_options
def worker(
    capabilities: Annotated[
        Optional[list[str]],
        typer.Option(
            "--capability",
            "-Q",
            metavar="NAME",
            help="Serve this one; may be repeated. By default all that it has code for.",
        ),
    ] = None,
    concurrency: Concurrency = 4,
    pool: PoolOption = Pool.PREFORK,
    include: Include = None,
    name: Annotated[
        Optional[str],
        typer.Option("--name", "-n", metavar="NAME", help="Its name among the workers."),
    ] = None,
    loglevel: Annotated[str, typer.Option("--loglevel", "-l", metavar="LEVEL")] = "INFO",
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Become a Celery worker, in this very process.

    --json prints the command that it becomes; the worker's own lines then go to stderr.
    """
    settings = connect.settings()
    command = [sys.executable, "-m", "celery", "-A", "orch.tasks.entry", "worker"]
    command += ["-c", str(concurrency), "-P", pool.value, "-l", loglevel]
    command += ["--without-gossip", "--without-mingle"]
    if name is not None:
        command += ["-n", name if "@" in name else f"{name}@%h"]
    if capabilities:
        command += ["-Q", ",".join(capabilities)]
    environment = worker_environment(connect, settings, include or [])
    if as_json:
        output.print_json({"command": command}, compact=True)
        os.dup2(2, 1)
    _become(command, environment)


def worker_environment(connect: Connect, settings: Settings, include: list[str]) -> dict[str, str]:
    """This environment, with the options of the command written into it."""
    environment = dict(os.environ)
    if connect.data_dir is not None:
        for variable in list(environment):
            if variable.upper() in ("ORCH_REDIS_URL", "ORCH_USE_LOCAL_REDIS"):
                del environment[variable]
        environment["ORCH_DATA_DIR"] = str(connect.data_dir.resolve())
    if connect.redis is not None:
        environment["ORCH_REDIS_URL"] = connect.redis
    if connect.broker is not None:
        environment["ORCH_BROKER_URL"] = connect.broker
    if include:
        environment["ORCH_INCLUDE"] = ",".join([*settings.include, *include])
    return environment


def _become(command: list[str], environment: dict[str, str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvpe(command[0], command, environment)


@with_options
def dev(
    count: Annotated[
        int, typer.Option("--workers", metavar="N", min=1, help="How many workers.")
    ] = 1,
    concurrency: Concurrency = 4,
    pool: PoolOption = Pool.PREFORK,
    include: Include = None,
    flower: Annotated[
        Optional[int],
        typer.Option("--flower", metavar="PORT", help="Show Flower at this port of 127.0.0.1."),
    ] = None,
    loglevel: Annotated[str, typer.Option("--loglevel", "-l", metavar="LEVEL")] = "INFO",
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Run Redis and workers for everything, until Ctrl-C.

    A worker that dies is started again. All of it ends with this command, even by kill -9.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        orchestrator = stack.enter_context(connect())
        check_broker(orchestrator)
        own = orchestrator.workers(
            count=count,
            concurrency=concurrency,
            pool=pool.value,
            include=include or (),
            loglevel=loglevel,
            events=flower is not None,
        )
        stack.enter_context(own)
        window = stack.enter_context(_flower(orchestrator, flower))
        log = _Tail(own.log)
        _announce(orchestrator, own, flower, as_json)
        try:
            _tend(orchestrator, own, window, log)
        except (KeyboardInterrupt, SystemExit):
            output.say("ending the workers; running steps have 10 s")
    # Both signals are the way to end it, and not a failure.
    raise typer.Exit(0)


def _tend(
    orchestrator: Orchestrator,
    own: WorkerProcesses,
    window: subprocess.Popen[bytes] | None,
    log: _Tail,
) -> NoReturn:
    """Keep server and workers alive, and show what the workers say, until a signal comes."""
    lease, told = orchestrator.server.lease, False
    while True:
        time.sleep(TICK)
        log.show()
        for sentence in own.tend():
            output.warn(sentence)
        if lease is not None:
            try:
                lease.revive()
            except OrchError as error:
                output.warn(error.message)
        if window is not None and window.poll() is not None and not told:
            output.warn(f"Flower ended with {window.returncode}")
            told = True


class _Tail:
    """Shows a log as it grows, and keeps it from growing for ever."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.at = 0

    def show(self) -> None:
        with contextlib.suppress(FileNotFoundError), self.path.open("rb") as log:
            log.seek(self.at)
            text = log.read()
            self.at += len(text)
            if text:
                output.write(text.decode(errors="replace"), sys.stderr)
        if self.at > LOG_LIMIT:
            os.truncate(self.path, 0)  # written in append mode, so it goes on at the start
            self.at = 0


def _announce(
    orchestrator: Orchestrator, own: WorkerProcesses, flower: int | None, as_json: bool
) -> None:
    from orch.journal.journal import without_password

    url = without_password(orchestrator.server.url)
    ours = {process.pid for process in own.processes}
    alive = [
        worker_object(said)
        for said in orchestrator.runtime.journal.live_workers()
        if said.get("pid") in ours
    ]
    serves = sorted({name for each in alive for name in each["serves"]})
    directory = str(orchestrator.settings.data_dir) if orchestrator.server.embedded else None
    address = f"http://127.0.0.1:{flower}" if flower is not None else None
    if as_json:
        found = {
            "redis": url,
            "data_dir": directory,
            "workers": [{"name": each["name"], "pid": each["pid"]} for each in alive],
            "serves": serves,
            "flower": address,
        }
        output.print_json(found, compact=True)
    where = f"embedded, data in {directory}" if directory else "not ours, left as it is"
    output.say(f"Redis    {url}  ({where})")
    output.say(f"workers  {', '.join(str(each['name']) for each in alive)}")
    output.say(f"serves   {', '.join(serves)}")
    if address:
        output.say(f"Flower   {address}")
    output.say("\nin another terminal, in this directory:")
    output.say("  orch start --wait FILE.yaml --input key=value")
    output.say("  orch list\n\nCtrl-C ends all of it\n")


@contextlib.contextmanager
def _flower(orchestrator: Orchestrator, port: int | None) -> Any:
    if port is None:
        yield None
        return
    require_flower()
    from orch.control.workers import PARENT_VARIABLE

    process = subprocess.Popen(
        [sys.executable, "-m", "orch.cli.flower", str(port)],
        env={
            **os.environ,
            "ORCH_REDIS_URL": orchestrator.server.url,
            PARENT_VARIABLE: str(os.getpid()),
        },
        stdin=subprocess.DEVNULL,
        stdout=2,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
