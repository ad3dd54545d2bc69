"""``python bench/leash.py PARENT COMMAND ...``: a command that ends with its parent.

A run that is killed with -9 stops nobody: without a leash its workers would go on, and be a
part of what the next run measures. A watcher, which is no child of the command, kills the
command's process group, of which it has to be the leader. Linux only; elsewhere it is the
command alone.
"""

import os
import select
import signal
import sys


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if hasattr(os, "pidfd_open"):
        own = os.getpid()
        middle = os.fork()
        if middle == 0:
            if os.fork() == 0:
                _watch(parent, own)
            os._exit(0)
        os.waitpid(middle, 0)
    os.execvp(command[0], command)


def _watch(parent: int, own: int) -> None:
    """Until either has ended."""
    os.setsid()
    try:
        ours = os.pidfd_open(own)
        theirs = os.pidfd_open(parent)
        for number in range(3):
            os.close(number)  # whoever waits for the end of the command's output waits for it alone
        ended, _, _ = select.select([ours, theirs], [], [])
    except ProcessLookupError:
        ended = []
    if not ended or ours not in ended:
        os.killpg(own, signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    main()
