"""The steps of the shape `spread`: each has a queue, and a worker, of its own."""

from orch import capability


def noop() -> None:
    """Do nothing."""


for number in range(10):
    capability(f"noop{number}")(noop)
