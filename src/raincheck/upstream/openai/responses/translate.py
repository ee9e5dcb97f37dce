"""A Responses payload in, the chat completion that asks for the same out.

Fields by OpenAI's API reference: https://platform.openai.com/docs/api-reference/responses/create and
https://platform.openai.com/docs/api-reference/chat/create.
"""

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from raincheck.core.errors import BadInput
from raincheck.core.responses import Json, plain
from raincheck.upstream.openai.responses.conversation import conversation
from raincheck.upstream.openai.responses.untranslatable import NotTranslatable

_ELSEWHERE = frozenset({"conversation", "previous_response_id", "prompt"})
"""What refers to things that only the server has to which they were told."""
_DROPPED = frozenset(
    {
        *("background", "background_options", "deferred", "raincheck", "store", "stream", "stream_options", "metadata"),
        # These steer the built-in tools and the long conversations of a server that has them.
        *("context_management", "include", "max_tool_calls", "truncation", "prompt_cache_options"),
    }
)
_READ = frozenset({"input", "instructions", "text", "reasoning", "max_output_tokens", "top_logprobs"})
_TOOLS = frozenset({"tools", "tool_choice", "parallel_tool_calls"})
_CHAT_FORMS = frozenset({"text", "json_object"})


def translate(members: Mapping[str, msgspec.Raw]) -> Json:
    """The members of the chat completion; those that nobody here knows pass as they are. Raises NotTranslatable, and
    BadInput for what no server could read."""
    try:
        return _translated(members)
    except TypeError:  # Any JSON may stand where a word should.
        raise BadInput("The body has a member of the wrong type.") from None


def _translated(members: Mapping[str, msgspec.Raw]) -> Json:
    said: Json = {name: value for name, raw in members.items() if (value := plain(raw)) is not None}
    if found := sorted(_ELSEWHERE & said.keys()):
        raise NotTranslatable(found[0], f"`{found[0]}` refers to something that it does not have")
    chat: Json = {"model": said.pop("model", "")}
    chat["messages"] = conversation(said.get("instructions"), said.get("input"))
    chat |= {name: value for name, value in said.items() if name not in _DROPPED | _READ | _TOOLS}
    if (most := said.get("max_output_tokens")) is not None:
        # The older name: servers without a Responses API know it, and some take the newer one and do not heed it.
        chat["max_tokens"] = most
    chat |= _text(_object(said, "text")) | _reasoning(_object(said, "reasoning")) | _logprobs(said) | _tools(said)
    return chat


def _text(text: Json) -> Json:
    chat: Json = {}
    if (verbosity := text.get("verbosity")) is not None:
        chat["verbosity"] = verbosity
    form = text.get("format")
    if form is None:
        return chat
    kind = cast("Json", form).get("type") if isinstance(form, dict) else None
    if kind == "json_schema":
        schema = {name: value for name, value in cast("Json", form).items() if name != "type" and value is not None}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif isinstance(kind, str) and kind in _CHAT_FORMS:
        if kind != "text":
            chat["response_format"] = {"type": kind}
    else:
        raise NotTranslatable("text.format", f"`text.format` is of the type {kind!r}")
    return chat


def _reasoning(reasoning: Json) -> Json:
    effort = reasoning.get("effort")
    return {} if effort is None else {"reasoning_effort": effort}


def _logprobs(said: Json) -> Json:
    wanted = said.get("include")
    asked = isinstance(wanted, list) and "message.output_text.logprobs" in wanted
    most = said.get("top_logprobs") or 0
    if not asked and not most:
        return {}
    return {"logprobs": True} | ({"top_logprobs": most} if most else {})


def _tools(said: Json) -> Json:
    """Functions alone; a server with a choice among some of them gets only those, which all servers understand."""
    tools: Any = said.get("tools") or []
    if not isinstance(tools, list):
        raise BadInput("`tools` must be a list of tools.", param="tools")
    functions = [_function(f"tools[{at}]", tool) for at, tool in enumerate(cast("list[Any]", tools))]
    choice = said.get("tool_choice")
    if isinstance(choice, dict):
        choice, functions = _choice(cast("Json", choice), functions)
    if not functions:
        # Some refuse the other members when there are no tools; a choice that needs one is theirs to refuse.
        return {"tool_choice": choice} if choice not in (None, "auto", "none") else {}
    chat: Json = {"tools": functions}
    if choice is not None:
        chat["tool_choice"] = choice
    if (parallel := said.get("parallel_tool_calls")) is not None:
        chat["parallel_tool_calls"] = parallel
    return chat


def _function(where: str, tool: Any) -> Json:
    tool = cast("Json", tool) if isinstance(tool, dict) else {}
    if tool.get("type") != "function":
        raise NotTranslatable(where, f"`{where}` is a tool of the type {tool.get('type')!r}")
    if isinstance(tool.get("function"), dict):
        return tool  # The form of chat completions, which some send here too.
    kept = ("name", "description", "parameters", "strict")
    return {"type": "function", "function": {name: tool[name] for name in kept if tool.get(name) is not None}}


def _choice(choice: Json, functions: list[Json]) -> tuple[Any, list[Json]]:
    match choice.get("type"):
        case "function":
            name = choice.get("name") or _named(choice)
            return {"type": "function", "function": {"name": name}}, functions
        case "allowed_tools":
            listed: Any = choice.get("tools") or []
            if not isinstance(listed, list):
                raise BadInput("`tool_choice.tools` must be a list of tools.", param="tool_choice.tools")
            names = [_named(_function("tool_choice", tool)) for tool in cast("list[Any]", listed)]
            return choice.get("mode", "auto"), [tool for tool in functions if _named(tool) in names]
        case kind:
            raise NotTranslatable("tool_choice", f"`tool_choice` is of the type {kind!r}")


def _named(tool: Json) -> Any:
    function = tool.get("function")
    return cast("Json", function).get("name") if isinstance(function, dict) else None


def _object(said: Json, name: str) -> Json:
    value = said.get(name, {})
    if not isinstance(value, dict):
        raise BadInput(f"`{name}` must be an object.", param=name)
    return cast("Json", value)
