"""The Celery entry point of the scheduler: celery -A beat beat

What a schedule names is a Celery task; recurring executions come with schedules of our own.
Any number may run where only one ticks; see docs/deployment.md.
"""

import sys

from orch.app import create_app
from orch.errors import OrchError
from orch.server import find_server
from orch.settings import load_settings

try:
    settings = load_settings()
    server = find_server(settings)
    app = create_app(settings, server.url)
except OrchError as error:
    print(f"{error.message}\n\nhint: {error.hint}", file=sys.stderr)
    raise SystemExit(error.exit_code) from None
