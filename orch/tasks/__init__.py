"""How it runs: the Celery tasks and the worker's own parts."""
