"""The `openai` kind of upstream: any HTTP server that speaks the OpenAI API."""

from raincheck.upstream.openai.upstream import OpenAIUpstream

__all__ = ["OpenAIUpstream"]
