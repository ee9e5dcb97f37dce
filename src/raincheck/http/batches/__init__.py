"""Batches as their callers see them, in OpenAI's dialect, in xAI's, and in our own."""
