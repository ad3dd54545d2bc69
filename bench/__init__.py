"""What orch costs beside plain Celery: the same shapes, the same Redis, the same run."""
