"""The Celery entry point of the scheduler: celery -A beat beat

Any number of them may run: one leads, and when it dies another one does. docs/schedules.md tells
what a schedule is, and `orch schedule` writes them down.
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
app.orch_beat = (settings, server)
app.conf.beat_scheduler = "orch.tasks.schedule:LeadingScheduler"
