"""Raincheck: submit AI inference now, collect the result later."""
