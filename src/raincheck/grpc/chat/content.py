"""Takes the messages of a chat, hands them on as OpenAI's dialect has them, with the files they name inside."""

import asyncio
from collections.abc import Iterable, Sequence

from raincheck.core.errors import BadInput
from raincheck.core.responses import Json
from raincheck.grpc.chat.inlining import Inlining
from raincheck.grpc.protos import chat_pb2, image_pb2

AT_A_TIME = 256
"""Messages, or parts of one, that are gone through before others get their turn."""
_ROLES = {
    chat_pb2.ROLE_USER: "user",
    chat_pb2.ROLE_ASSISTANT: "assistant",
    chat_pb2.ROLE_SYSTEM: "system",
    chat_pb2.ROLE_FUNCTION: "function",
    chat_pb2.ROLE_TOOL: "tool",
    chat_pb2.ROLE_DEVELOPER: "developer",
}
_DETAILS = {image_pb2.DETAIL_AUTO: "auto", image_pb2.DETAIL_LOW: "low", image_pb2.DETAIL_HIGH: "high"}


async def messages_of(messages: Iterable[chat_pb2.Message], inlining: Inlining) -> list[Json]:
    """The same, one for one. Raises BadInput; for files NotFound, AttachmentGone, TooLarge, NoObjectStore."""
    told: list[Json] = []
    unanswered: list[str] = []
    for number, message in enumerate(messages):
        await _in_turn(number)
        told.append(await _message(message, inlining, f"messages[{number}]"))
        _name_call(told[-1], unanswered)
    return told


async def _in_turn(number: int) -> None:
    if number % AT_A_TIME == AT_A_TIME - 1:
        await asyncio.sleep(0)


def _name_call(message: Json, unanswered: list[str]) -> None:
    """A tool's result may come without saying which call it answers, where there is only one to answer. OpenAI's
    dialect has to be told."""
    if calls := message.get("tool_calls"):
        unanswered[:] = [call["id"] for call in calls]
    if message["role"] != "tool" or not unanswered:
        return
    answers = message.setdefault("tool_call_id", unanswered[0])
    if answers in unanswered:
        unanswered.remove(answers)


async def _message(message: chat_pb2.Message, inlining: Inlining, param: str) -> Json:
    if (role := _ROLES.get(message.role)) is None:
        raise BadInput(f"`{param}.role` is missing or not known here: {message.role}.", param=f"{param}.role")
    if message.encrypted_content and not message.content and not message.tool_calls:
        raise BadInput(
            f"`{param}` has encrypted content alone, which only xAI's servers can read: send the messages themselves.",
            param=param,
        )
    parts = list[Json]()
    for number, part in enumerate(message.content):
        await _in_turn(number)
        parts.append(await _part(part, inlining, f"{param}.content[{number}]"))
    told: Json = {"role": role, "content": _content(parts)}
    if message.name:
        told["name"] = message.name
    if message.tool_calls:
        told["tool_calls"] = [_call(call) for call in message.tool_calls]
        told["content"] = told["content"] or None
    if message.tool_call_id:
        told["tool_call_id"] = message.tool_call_id
    if message.reasoning_content and role == "assistant":
        # Models that think between calls of tools want to see it again; who does not know it passes over it.
        told["reasoning_content"] = message.reasoning_content
    return told


def _content(parts: Sequence[Json]) -> str | Sequence[Json]:
    """Text alone is a plain string, which every server and every chat template takes."""
    texts = [part["text"] for part in parts if part["type"] == "text"]
    return "\n".join(texts) if len(texts) == len(parts) else parts


def _call(call: chat_pb2.ToolCall) -> Json:
    function = {"name": call.function.name, "arguments": call.function.arguments}
    return {"id": call.id, "type": "function", "function": function}


async def _part(part: chat_pb2.Content, inlining: Inlining, param: str) -> Json:
    match part.WhichOneof("content"):
        case "text":
            return {"type": "text", "text": part.text}
        case "image_url":
            return await _picture(part.image_url, inlining, param)
        case "file":
            return await _file(part.file, inlining, param)
        case _:
            raise BadInput(f"`{param}` is of no kind that is known here; send text, a picture or a file.", param=param)


async def _picture(picture: image_pb2.ImageUrlContent, inlining: Inlining, param: str) -> Json:
    part: Json
    if picture.file_id:
        part = await (await inlining.uploaded(picture.file_id, param)).part()
        if part["type"] != "image_url":
            raise BadInput(f"`{param}`: {picture.file_id} is no picture; name it as a file.", param=param)
    elif picture.image_url.lower().startswith(("https://", "http://", "data:")):
        part = {"type": "image_url", "image_url": {"url": picture.image_url}}
    else:
        raise BadInput(f"`{param}` must be an http(s) URL or a data URI (data:image/png;base64,…).", param=param)
    if (detail := _DETAILS.get(picture.detail)) is not None:
        part["image_url"]["detail"] = detail
    return part


async def _file(file: chat_pb2.FileContent, inlining: Inlining, param: str) -> Json:
    given = [name for name in ("file_id", "data", "url") if getattr(file, name)]
    if len(given) != 1:
        raise BadInput(f"`{param}` must have one of file_id, data and url.", param=param)
    match given[0]:
        case "file_id":
            inlined = await inlining.uploaded(file.file_id, param)
        case "data":
            inlined = inlining.sent(file.data, file.filename, file.mime_type, param)
        case _:
            inlined = await inlining.written(file.url, file.filename, param)
    return await inlined.part()
