"""Batches: how they come in, how their lines become requests, and how their files are written."""
