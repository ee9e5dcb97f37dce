"""OpenAI's Responses API at one server: its own where it has it, and translated to chat completions where not."""

from raincheck.upstream.openai.responses.perform import PATH, Responses

__all__ = ["PATH", "Responses"]
