"""Who is asked when a step has failed: the inbox, hooks, statistics."""
