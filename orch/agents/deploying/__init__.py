"""Deployment to a directory: releases side by side, and one link that says which one counts."""
