"""Webhooks: who is told over HTTP of what happens, each until they have taken it."""
