"""A whole Response in, the events out that would have told of it, had it been streamed."""

from collections.abc import Iterator
from typing import Any

from raincheck.core.responses import Json


def retold(response: Json) -> Iterator[Json]:
    """From `response.created` to the end, each text in one piece."""
    begun: Json = dict(response)
    begun |= {"status": "in_progress", "output": [], "usage": None, "completed_at": None, "incomplete_details": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(response["output"]):
        yield from _item(index, item)
    yield {"type": f"response.{response['status']}", "response": response}


def _item(index: int, item: Json) -> Iterator[Json]:
    at = {"item_id": item.get("id", ""), "output_index": index}
    match item.get("type"):
        case "message":
            yield _added(index, item | {"content": []})
            for number, part in enumerate(item.get("content") or []):
                yield from _part(at | {"content_index": number}, part)
        case "function_call":
            yield _added(index, item | {"arguments": ""})
            arguments = item.get("arguments", "")
            yield {"type": "response.function_call_arguments.delta", **at, "delta": arguments}
            done = {"name": item.get("name"), "arguments": arguments}
            yield {"type": "response.function_call_arguments.done", **at, **done}
        case "reasoning":
            yield _added(index, item | {"summary": []})
            for number, part in enumerate(item.get("summary") or []):
                yield from _summary(at | {"summary_index": number}, part)
        case _:
            yield {"type": "response.output_item.added", "output_index": index, "item": item}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _added(index: int, item: Json) -> Json:
    return {"type": "response.output_item.added", "output_index": index, "item": item | {"status": "in_progress"}}


def _part(at: dict[str, Any], part: Json) -> Iterator[Json]:
    if part.get("type") == "refusal":
        refusal = part.get("refusal", "")
        yield {"type": "response.content_part.added", **at, "part": part | {"refusal": ""}}
        yield {"type": "response.refusal.delta", **at, "delta": refusal}
        yield {"type": "response.refusal.done", **at, "refusal": refusal}
    else:
        text = part.get("text", "")
        logprobs: Any = part.get("logprobs") or []
        yield {"type": "response.content_part.added", **at, "part": part | {"text": "", "annotations": []}}
        yield {"type": "response.output_text.delta", **at, "delta": text, "logprobs": logprobs}
        yield {"type": "response.output_text.done", **at, "text": text, "logprobs": logprobs}
    yield {"type": "response.content_part.done", **at, "part": part}


def _summary(at: dict[str, Any], part: Json) -> Iterator[Json]:
    text = part.get("text", "")
    yield {"type": "response.reasoning_summary_part.added", **at, "part": part | {"text": ""}}
    yield {"type": "response.reasoning_summary_text.delta", **at, "delta": text}
    yield {"type": "response.reasoning_summary_text.done", **at, "text": text}
    yield {"type": "response.reasoning_summary_part.done", **at, "part": part}
