"""Commands that look after the journal as a whole: reindex."""

from __future__ import annotations

from orch.cli import output
from orch.cli.options import DataDir, Json, Redis


def reindex(redis: Redis = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Write anew how executions are found: of a Redis that an older release has filled.

    It harms nothing at any other time. Walks over all keys, so it may take minutes.
    """
    from orch.cli.connection import settings_of
    from orch.control.upkeep import reindex as write_anew

    count = write_anew(settings_of(redis, data_dir))
    if as_json:
        output.print_json({"executions": count})
    else:
        output.line(f"{count} execution{'s'[: count != 1]} can be found")
