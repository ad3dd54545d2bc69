"""The Celery entry point of workers.

    celery -A worker worker                                   serves all that it has code for
    celery -A worker worker -Q code_linting,test_execution -c 4

Modules with capabilities are named by ORCH_INCLUDE, Redis by ORCH_REDIS_URL.
"""

from orch.tasks.entry import app

__all__ = ["app"]
