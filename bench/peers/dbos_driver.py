"""DBOS on a PostgreSQL of its own, which syncs each commit; workflows run in this process."""

from __future__ import annotations

import asyncio
import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

import psycopg
from dbos import DBOS

from bench.peers.driver import Driver, serve, wait_until
from bench.peers.places import free_port, leashed, postgres


@DBOS.step()
def noop() -> None:
    """Do nothing."""


@DBOS.step()
async def noop_beside() -> None:
    """Do nothing, beside others."""


@DBOS.workflow()
def chain(size: int) -> None:
    for _ in range(size):
        noop()


@DBOS.workflow()
async def fan_out(size: int) -> None:
    await asyncio.gather(*(noop_beside() for _ in range(size)))
    await noop_beside()


SHAPES: dict[str, Any] = {"chain": chain, "fan_out": fan_out, "map": fan_out}


class Dbos(Driver):
    """A handle is DBOS's own."""

    server: subprocess.Popen[bytes] | None = None

    def start(self, url: str, folder: Path) -> None:
        programs = postgres()
        assert programs is not None
        data, port = folder / "data", free_port()
        data.mkdir()
        as_user: dict[str, Any] = {}
        if os.getuid() == 0:  # PostgreSQL refuses to be run by root
            nobody = pwd.getpwnam("nobody")
            as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            for path in (folder, data):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
        options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]
        initdb = [str(programs / "initdb"), "-D", str(data), *options]
        subprocess.run(initdb, check=True, cwd=folder, **as_user)
        command = [str(programs / "postgres"), "-D", str(data), "-p", str(port), "-k", str(folder)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=on"]
        self.server = subprocess.Popen(
            leashed(command), cwd=folder, start_new_session=True, **as_user
        )
        self.url = f"postgresql://postgres@127.0.0.1:{port}"
        wait_until(self._answers, 30, "PostgreSQL did not answer")
        DBOS(
            config={
                "name": "bench",
                "system_database_url": f"{self.url}/bench",
                "run_admin_server": False,
                "log_level": "WARNING",
            }
        )
        DBOS.launch()

    def _answers(self) -> bool:
        try:
            psycopg.connect(f"{self.url}/postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        DBOS.destroy()
        if self.server is not None:
            self.server.terminate()
            self.server.wait(20)

    def begin(self, shape: str, size: int) -> Any:
        return DBOS.start_workflow(SHAPES[shape], size)

    def wait(self, handles: list[Any]) -> None:
        for handle in handles:
            handle.get_result(polling_interval_sec=0.005)

    def stored(self) -> int:
        with psycopg.connect(f"{self.url}/bench") as connection:
            found = connection.execute("SELECT pg_database_size('bench')").fetchone()
        assert found is not None
        return int(found[0])


if __name__ == "__main__":
    serve(Dbos())
