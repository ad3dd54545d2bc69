"""Real faults: processes that are killed with SIGKILL, servers that vanish, lost messages."""
