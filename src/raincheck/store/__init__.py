"""The record: what was accepted, who works on it, how it ended."""
