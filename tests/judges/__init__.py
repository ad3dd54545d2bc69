"""Other interpreters that say what a workflow means, and must say the same as the engine."""
