"""A fuzz of the HTTP API against its own OpenAPI document: `python -m tests.fuzz`."""
