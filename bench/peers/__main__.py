"""``python -m bench.peers``: install the peers, and what draws the picture, into .venv-peers."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv

from bench.peers.places import PYTHON, REQUIREMENTS, RESTATE_PACKAGE, VENV


def main() -> int:
    """0 when Python's part is there; Restate's server is left out without npm."""
    if not PYTHON.exists():
        venv.create(VENV, with_pip=True)
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, "-r", str(REQUIREMENTS)])
    if done.returncode:
        print(f"installing {REQUIREMENTS.name} into {VENV.name} failed (above)", file=sys.stderr)
        return done.returncode
    if npm := shutil.which("npm"):
        command = [npm, "install", "--no-fund", "--no-audit", "--loglevel=error"]
        done = subprocess.run([*command, "--prefix", str(VENV), RESTATE_PACKAGE])
    if not npm or done.returncode:
        print("Restate is left out: its server comes from npm", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
