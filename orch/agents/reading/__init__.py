"""Texts as agents read them: what stands in Markdown, in HTML, in tables."""
