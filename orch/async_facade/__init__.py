"""The parts of the facade for coroutines, by subject: see `orch/asynchronous.py`."""
