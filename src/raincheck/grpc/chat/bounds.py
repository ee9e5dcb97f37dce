"""How many pieces a chat may come in. Each costs far more time than its bytes say, and all wait meanwhile: so they are
counted before anything goes through them."""

from raincheck.core.errors import BadInput, TooLarge
from raincheck.grpc.protos import chat_pb2

MOST_PIECES = 20_000
"""Messages of a chat, their parts and their calls of tools, in all."""
MOST_TOOLS = 128
"""As many as OpenAI takes."""
MOST_STOPS = 16
MOST_SCHEMA = 2 << 20
"""Characters of the schemas of all tools and of the answer together."""


def check_extent(request: chat_pb2.GetCompletionsRequest) -> None:
    """Raise BadInput or TooLarge for a chat of more pieces than these."""
    _check("tools", len(request.tools), MOST_TOOLS, "tools")
    _check("stop", len(request.stop), MOST_STOPS, "stop sequences")
    pieces = len(request.messages)
    if pieces <= MOST_PIECES:
        pieces += sum(len(message.content) + len(message.tool_calls) for message in request.messages)
    _check("messages", pieces, MOST_PIECES, "messages, parts and tool calls in all")
    schemas = len(request.response_format.schema) + sum(len(tool.function.parameters) for tool in request.tools)
    if schemas > MOST_SCHEMA:
        raise TooLarge(f"The schemas have {schemas} characters together; {MOST_SCHEMA} are accepted.", param="tools")


def _check(param: str, count: int, most: int, what: str) -> None:
    if count > most:
        raise BadInput(f"A chat may have at most {most} {what}; this has {count} or more.", param=param)
