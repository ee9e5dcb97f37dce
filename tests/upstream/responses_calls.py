"""Builders for the tests of responses: work to hand in, chunks of a chat, and a reader that is as strict as OpenAI's
own types."""

from pathlib import Path
from typing import Any, cast

import msgspec
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from raincheck.core.outcome import Failure, Reply
from raincheck.upstream.protocol import Work
from raincheck.upstream.python.direct import NoBench
from tests.scripted import Answer, error
from tests.upstream.bench import FolderBench
from tests.upstream.openai_calls import Told, the_reply

Json = dict[str, Any]
ID = "resp_0123456789abcdef0123456789abcdef"
CREATED_AT = 1_750_000_000_000_000
EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)
GREETING = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}


def a_response(folder: Path | None = None, **members: Any) -> Work:
    """Work on `/responses`; with a folder, of a client that wants its events kept."""
    payload: Json = {"model": "m", "input": "hi"} | members
    if folder is not None:
        payload["stream"] = True
    return Work(
        request_id=ID,
        operation="response",
        path="/responses",
        model=payload["model"],
        payload=msgspec.json.encode(payload),
        attempt=1,
        bench=NoBench() if folder is None else FolderBench(folder),
        created_at=CREATED_AT,
    )


def no_responses() -> Answer:
    """How a server without the API answers."""
    return error(404, "Not Found")


def response_of(answer: Reply | Failure) -> Json:
    """The whole response, which OpenAI's types accept."""
    body = msgspec.json.decode(the_reply(answer).body)
    Response.model_validate(body, strict=True)
    return body


def told_by(report: Told) -> list[Json]:
    """The events that a client would see: each what OpenAI's types say, numbered without a gap."""
    return checked(report.deltas)


def checked(lines: list[bytes]) -> list[Json]:
    events = [cast("Json", msgspec.json.decode(line)) for line in lines]
    for number, event in enumerate(events):
        known = EVENT.validate_python(event, strict=True)
        assert known.type == event["type"]
        assert event["sequence_number"] == number
        if "response" in event:
            assert event["response"]["id"] == ID
            assert event["response"]["background"] is True
    return events


def kinds(events: list[Json]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def gathered(events: list[Json], kind: str) -> str:
    """The deltas of one kind, joined."""
    return "".join(event["delta"] for event in events if event["type"] == f"response.{kind}.delta")
