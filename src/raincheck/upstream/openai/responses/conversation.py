"""The instructions and input of a Responses payload in, the messages of a chat completion out."""

from typing import Any, cast

from raincheck.core.errors import BadInput
from raincheck.core.responses import Json
from raincheck.upstream.openai.responses.untranslatable import NotTranslatable

_MISSING = "`input` is missing; send a text, or a list of items."
_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
"""Chat templates know no developer; its word stands where the system's does."""


def conversation(instructions: Any, items: Any) -> list[Json]:
    """Raises NotTranslatable, and BadInput for what is no input at all."""
    messages: list[Json] = []
    if isinstance(instructions, str):
        messages.append({"role": "system", "content": instructions})
    elif instructions is not None:
        messages += _messages("instructions", instructions)
    if isinstance(items, str):
        messages.append({"role": "user", "content": items})
    elif items is not None:
        messages += _messages("input", items)
    if not messages:
        raise BadInput(_MISSING, param="input")
    return _one_system(messages)


def _messages(member: str, items: Any) -> list[Json]:
    if not isinstance(items, list):
        raise BadInput(f"`{member}` must be a text, or a list of items.", param=member)
    messages: list[Json] = []
    for at, item in enumerate(cast("list[Any]", items)):
        where = f"{member}[{at}]"
        if not isinstance(item, dict):
            raise BadInput(f"`{where}` must be an object.", param=where)
        _add(messages, where, cast("Json", item))
    return messages


def _add(messages: list[Json], where: str, item: Json) -> None:
    match item.get("type", "message"):
        case "message":
            _say(messages, _message(where, item))
        case "function_call":
            _call(messages, where, item)
        case "function_call_output":
            output = {"role": "tool", "tool_call_id": item.get("call_id"), "content": _plain_text(where, item)}
            messages.append(output)
        case "reasoning":
            pass  # What a model thought is not part of a chat.
        case kind:
            raise NotTranslatable(where, f"`{where}` is an item of the type {kind!r}")


def _say(messages: list[Json], message: Json) -> None:
    """What the assistant says right after its own words or calls belongs to the same turn: chat servers want the
    outputs of calls to come next."""
    if message["role"] != "assistant" or not messages or messages[-1]["role"] != "assistant":
        messages.append(message)
        return
    before, after = messages[-1]["content"], message["content"]
    if isinstance(before, str) and isinstance(after, str):
        messages[-1]["content"] = f"{before}\n\n{after}"
    else:
        messages[-1]["content"] = after if before is None else _as_parts(before) + _as_parts(after)


def _as_parts(content: str | list[Json]) -> list[Json]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _message(where: str, item: Json) -> Json:
    role = item.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise BadInput(f"`{where}.role` must be user, assistant, system or developer.", param=f"{where}.role")
    content = item.get("content")
    if isinstance(content, str):
        return {"role": _ROLES[role], "content": content}
    if not isinstance(content, list):
        raise BadInput(f"`{where}.content` must be a text, or a list of parts.", param=f"{where}.content")
    pairs = enumerate(cast("list[Any]", content))
    parts = [_part(f"{where}.content[{at}]", part) for at, part in pairs]
    texts = [part["text"] for part in parts if part["type"] == "text"]
    # Of what is not the user's, and of a single text, every template knows the plain form.
    if len(texts) == len(parts) and (role != "user" or len(texts) == 1):
        return {"role": _ROLES[role], "content": "".join(texts)}
    return {"role": _ROLES[role], "content": parts}


def _part(where: str, part: Any) -> Json:
    part = cast("Json", part) if isinstance(part, dict) else {}
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            return {"type": "text", "text": _text_of(where, part, "text")}
        case "refusal":
            return {"type": "text", "text": _text_of(where, part, "refusal")}
        case "input_image" if isinstance(part.get("image_url"), str):
            image = {"url": part["image_url"]}
            return {
                "type": "image_url",
                "image_url": image | ({"detail": part["detail"]} if part.get("detail") else {}),
            }
        case "input_file" if isinstance(part.get("file_data"), str):
            return {"type": "file", "file": {key: part[key] for key in ("filename", "file_data") if part.get(key)}}
        case "input_audio" if isinstance(part.get("input_audio"), dict):
            return {"type": "input_audio", "input_audio": part["input_audio"]}
        case "input_image" | "input_file" as kind:
            raise NotTranslatable(where, f"`{where}` ({kind}) is not in the request itself but a file kept elsewhere")
        case kind:
            raise NotTranslatable(where, f"`{where}` is a part of the type {kind!r}")


def _call(messages: list[Json], where: str, item: Json) -> None:
    """A call belongs to the answer that it was part of; several that follow each other were made at once."""
    arguments = _text_of(where, item, "arguments")
    call = {
        "id": item.get("call_id"),
        "type": "function",
        "function": {"name": item.get("name"), "arguments": arguments},
    }
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    messages[-1].setdefault("tool_calls", []).append(call)


def _plain_text(where: str, item: Json) -> str:
    output = item.get("output")
    if isinstance(output, str):
        return output
    if not isinstance(output, list):
        raise BadInput(f"`{where}.output` must be a text, or a list of parts.", param=f"{where}.output")
    parts = [_part(f"{where}.output[{at}]", part) for at, part in enumerate(cast("list[Any]", output))]
    for at, part in enumerate(parts):
        if part["type"] != "text":
            raise NotTranslatable(f"{where}.output[{at}]", f"`{where}.output[{at}]` is an output that is no text")
    return "".join(part["text"] for part in parts)


def _text_of(where: str, holder: Json, name: str) -> str:
    text = holder.get(name)
    if not isinstance(text, str):
        raise BadInput(f"`{where}.{name}` must be a text.", param=f"{where}.{name}")
    return text


def _one_system(messages: list[Json]) -> list[Json]:
    """What stands first for the system, as one message: many templates take no second one."""
    first = next((at for at, message in enumerate(messages) if message["role"] != "system"), len(messages))
    texts = [message["content"] for message in messages[:first]]
    if first < 2 or not all(isinstance(text, str) for text in texts):
        return messages
    return [{"role": "system", "content": "\n\n".join(texts)}, *messages[first:]]
