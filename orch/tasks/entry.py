"""The entry point of workers that are started by the package itself.

The same as the top-level ``worker.py``, which an installed package does not bring along.
"""

import sys

from orch.errors import OrchError
from orch.tasks.worker import create_worker_app

try:
    app = create_worker_app()
except OrchError as error:
    print(f"{error.message}\n\nhint: {error.hint}", file=sys.stderr)
    raise SystemExit(error.exit_code) from None
