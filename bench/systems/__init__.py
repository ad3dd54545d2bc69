"""The contestants."""
