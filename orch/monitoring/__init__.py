"""How it goes: what waits, how fast it is done, and how many workers that takes."""
