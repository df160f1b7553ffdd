"""Language models to put a request to: local ones of transformers, and OpenAI-compatible endpoints."""
