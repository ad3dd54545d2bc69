"""Language models as capabilities: by pydantic-ai, of any provider that it knows."""
