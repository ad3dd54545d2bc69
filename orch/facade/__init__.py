"""The parts of the facade, by subject: see `orch/orchestrator.py`."""
