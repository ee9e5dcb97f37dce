"""Takes a GetCompletionsRequest, hands on the JSON body that a caller of the HTTP API would have sent for it.

From there on it is the same intake. What only xAI's own servers can do is refused by name; what only changes how xAI
goes about it is left out (IGNORED).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from math import isfinite
from typing import Any

import msgspec

from raincheck.core.errors import BadInput, TooLarge
from raincheck.core.model import Tenant
from raincheck.core.operations import operation_of
from raincheck.core.responses import Json, aside
from raincheck.grpc.call import Call
from raincheck.grpc.chat.bounds import check_extent
from raincheck.grpc.chat.content import messages_of
from raincheck.grpc.chat.earlier import earlier_messages
from raincheck.grpc.chat.inlining import Inlining
from raincheck.grpc.chat.schemas import can_be_strict
from raincheck.grpc.fields import word_of
from raincheck.grpc.protos import chat_pb2, usage_pb2
from raincheck.intake.admit import Submission, check_model
from raincheck.intake.bodies import read_object, submission
from raincheck.intake.gate import check_size

PATH = "/chat/completions"
IGNORED: Mapping[str, str] = {
    "use_encrypted_content": "reasoning is handed over in the clear here",
    "max_turns": "it bounds turns of tools that run on xAI's servers",
    "include": "it asks for what such tools found",
    "store_messages": "it decides where the answer is kept, not what the model is asked",
}
"""Fields that change nothing about what the model is asked, and why."""
_CLIENT_SIDE = "the models served here have only client-side tools (functions that your program runs)"
_EFFORTS = {
    chat_pb2.EFFORT_LOW: "low",
    chat_pb2.EFFORT_MEDIUM: "medium",
    chat_pb2.EFFORT_HIGH: "high",
    chat_pb2.EFFORT_NONE: "none",
    chat_pb2.EFFORT_XHIGH: "xhigh",
}
_TIERS = {usage_pb2.SERVICE_TIER_DEFAULT: "default", usage_pb2.SERVICE_TIER_PRIORITY: "priority"}
_MODES = {
    chat_pb2.TOOL_MODE_AUTO: "auto",
    chat_pb2.TOOL_MODE_NONE: "none",
    chat_pb2.TOOL_MODE_REQUIRED: "required",
}
_FORMATS = {
    chat_pb2.FORMAT_TYPE_TEXT: "text",
    chat_pb2.FORMAT_TYPE_JSON_OBJECT: "json_object",
    chat_pb2.FORMAT_TYPE_JSON_SCHEMA: "json_schema",
}
_TEXTS = ("user", "safety_identifier")
_WHOLE = ("n", "max_tokens", "seed", "top_logprobs", "parallel_tool_calls")
_BROKEN = ("temperature", "top_p", "frequency_penalty", "presence_penalty")

Request = chat_pb2.GetCompletionsRequest


async def chat_submission(call: Call, tenant: Tenant, request: Request, *, deferred: bool) -> Submission:
    """What the request asks for, fit to be recorded or passed on. Raises BadInput, ModelUnknown, and as `chat_body`."""
    check_model(request.model)
    call.edge.catalogue.require(request.model, operation_of(PATH))  # Before anything is read for it.
    body = await chat_body(call, tenant, request)
    return await aside(len(body), lambda: submission(PATH, read_object(body), deferred=deferred))


async def chat_body(call: Call, tenant: Tenant, request: Request) -> bytes:
    """The body with everything in it: earlier messages, uploaded files. Raises BadInput, ScopeMissing for a caller who
    may not read what it names, NotFound for what is not this tenant's (G8), TooLarge, and as `earlier_messages`."""
    check_extent(request)
    refuse(request)
    before: Sequence[object] = ()
    if request.previous_response_id:
        await call.caller("read")  # The answer may tell all that was said before.
        before = await earlier_messages(request.previous_response_id, tenant, call.edge)
    inlining = Inlining(call)
    messages = await messages_of(request.messages, inlining)
    told = body_of(request, [*before, *messages])
    body = await aside(request.ByteSize() + inlining.taken, partial(msgspec.json.encode, told))
    check_size(tenant, len(body))
    if len(body) > (most := call.edge.settings.max_body_bytes):
        raise TooLarge(f"With its files the chat has {len(body)} bytes; {most} are accepted (`server.max_body`).")
    return body


def body_of(request: Request, messages: Sequence[object]) -> Json:
    """The members of the body around its messages. Raises BadInput."""
    body: Json = {"model": request.model, "messages": messages}
    body |= {name: text for name in _TEXTS if (text := getattr(request, name))}
    body |= {name: getattr(request, name) for name in _WHOLE if request.HasField(name)}
    body |= {name: _number(request, name) for name in _BROKEN if request.HasField(name)}
    others: Mapping[str, object] = {
        "logprobs": request.logprobs or None,
        "stop": list(request.stop) or None,
        "reasoning_effort": word_of("reasoning_effort", request.reasoning_effort, _EFFORTS),
        "service_tier": word_of("service_tier", request.service_tier, _TIERS),
        "tools": [_tool(tool, f"tools[{n}]") for n, tool in enumerate(request.tools)] or None,
        "tool_choice": _tool_choice(request.tool_choice),
        "response_format": _response_format(request.response_format),
    }
    return body | {name: value for name, value in others.items() if value is not None}


def refuse(request: Request) -> None:
    """Raise BadInput for what nobody here could do."""
    if request.HasField("search_parameters") and request.search_parameters.mode != chat_pb2.OFF_SEARCH_MODE:
        raise BadInput(f"search_parameters cannot be served: {_CLIENT_SIDE}.", param="search_parameters")
    if request.agent_count != chat_pb2.AGENT_COUNT_UNSPECIFIED:
        raise BadInput(f"agent_count cannot be served: one agent answers, and {_CLIENT_SIDE}.", param="agent_count")
    if request.guidelines:
        raise BadInput(
            "guidelines cannot be served: nobody moderates here what a model says. Leave them out, or say in a system "
            f"message what shall not be said; {_CLIENT_SIDE}.",
            param="guidelines",
        )


def _number(request: Request, name: str) -> float:
    """A float of 32 bits as it was written: 0.7, not 0.699999988079071."""
    value: float = getattr(request, name)
    if not isfinite(value):
        raise BadInput(f"`{name}` must be a finite number, not {value}.", param=name)
    return float(f"{value:.7g}")


def _tool(tool: chat_pb2.Tool, param: str) -> Json:
    if (kind := tool.WhichOneof("tool")) != "function":
        which = f"`{kind}` runs on xAI's servers" if kind else "this one is none that is known here"
        raise BadInput(f"{param} cannot be served: {which}, and {_CLIENT_SIDE}.", param=param)
    function = tool.function
    told: Json = {"name": function.name}
    if function.description:
        told["description"] = function.description
    if function.parameters:
        told["parameters"] = _schema(function.parameters, f"{param}.function.parameters")
    if function.strict:
        told["strict"] = True
    return {"type": "function", "function": told}


def _tool_choice(choice: chat_pb2.ToolChoice) -> object:
    if choice.WhichOneof("tool_choice") == "function_name":
        return {"type": "function", "function": {"name": choice.function_name}}
    return word_of("tool_choice.mode", choice.mode, _MODES)


def _response_format(wanted: chat_pb2.ResponseFormat) -> Json | None:
    kind = word_of("response_format.format_type", wanted.format_type, _FORMATS)
    if kind is None:
        return None
    if kind != "json_schema":
        return {"type": kind}
    schema = _schema(wanted.schema, "response_format.schema")
    told: Json = {"name": "response", "schema": schema}
    if can_be_strict(schema):  # OpenAI refuses the others then.
        told["strict"] = True
    return {"type": kind, "json_schema": told}


def _schema(text: str, param: str) -> Json:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadInput(f"`{param}` must be a JSON Schema, written as JSON: {error}.", param=param) from None
