"""Workflows that ship with the package."""
