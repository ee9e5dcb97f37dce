"""Takes the chunks of a streamed completion as an upstream sends them, hands on xAI's, and one at the end that has all
that is only known then.

The SDK believes the last chunk: usage, the ends of the outputs and whole calls of tools are in it.
"""

from collections.abc import Sequence

from raincheck.core.responses import Json
from raincheck.grpc.chat.answering import (
    Response,
    completion,
    failed,
    index_of,
    logprobs_of,
    object_of,
    objects,
    read_json,
    reasoning_of,
    set_frame,
    text_of,
)
from raincheck.grpc.problems import LARGEST, result_too_large
from raincheck.grpc.protos import chat_pb2
from raincheck.upstream.openai.assemble import Assembly

Chunk = chat_pb2.GetChatCompletionChunk

_FRAME = ("id", "model", "created", "system_fingerprint", "service_tier")
_LATE = ("tool_calls", "function_call")
"""Of a delta, what is told when it is whole."""


class Chunks:
    """One streamed completion under way, told under its own id if no other is given."""

    def __init__(self, response_id: str | None = None) -> None:
        self._id = response_id
        self._frame: Json = {}
        self._late = Assembly()

    def take(self, data: bytes, name: str = "message") -> Sequence[Chunk]:
        """What one event (the JSON of a chunk) has to tell at once. Raises NotACompletion for an error."""
        told = read_json(data)
        if name == "error" or told.get("error") or told.get("object") == "error":
            raise failed(data)
        choices = objects(told.pop("choices", None))
        self._frame |= {name: value for name in _FRAME if (value := told.get(name)) not in (None, "")}
        outputs = [output for n, choice in enumerate(choices) if (output := self._output(choice, n)) is not None]
        late = [self._held_back(choice, n) for n, choice in enumerate(choices)]
        # What has been told needs no room; what is held back is bounded.
        size = len(data) if any(choice["delta"] for choice in late) else 0
        self._late.add(told | {"choices": late}, size)
        if self._late.size > LARGEST:
            raise result_too_large(self._id or "{id}")
        if not outputs:
            return ()
        chunk = Chunk(outputs=outputs)
        set_frame(chunk, self._frame, self._id)
        return (chunk,)

    @property
    def size(self) -> int:
        """Roughly the bytes that `end` has to tell."""
        return self._late.size

    def whole(self, choices: int) -> bool:
        """Whether so many choices have said why they ended: then nothing is missing, however the stream ended."""
        return self._late.finished(choices)

    def end(self) -> Chunk:
        """The last. Raises NotACompletion when there was no output at all."""
        return as_chunk(completion(self._late.body(), response_id=self._id))

    def _output(self, choice: Json, position: int) -> chat_pb2.CompletionOutputChunk | None:
        delta = _delta(choice)
        content = text_of(delta.get("content")) or text_of(delta.get("refusal"))
        reasoning, logprobs = reasoning_of(delta), logprobs_of(choice)
        if not (content or reasoning or logprobs):
            return None
        return chat_pb2.CompletionOutputChunk(
            index=index_of(choice, position),
            delta=chat_pb2.Delta(role=chat_pb2.ROLE_ASSISTANT, content=content, reasoning_content=reasoning),
            logprobs=logprobs,
        )

    @staticmethod
    def _held_back(choice: Json, position: int) -> Json:
        delta = {name: value for name, value in _delta(choice).items() if name in _LATE and value}
        reason = choice.get("finish_reason")
        return {"index": index_of(choice, position), "finish_reason": reason, "delta": delta}


def as_chunk(answer: Response) -> Chunk:
    """A whole completion as the one chunk of its stream, or the last."""
    chunk = Chunk(
        id=answer.id,
        model=answer.model,
        system_fingerprint=answer.system_fingerprint,
        service_tier=answer.service_tier,
        usage=answer.usage,
        citations=answer.citations,
    )
    if answer.HasField("created"):
        chunk.created.CopyFrom(answer.created)
    for output in answer.outputs:
        message = output.message
        delta = chat_pb2.Delta(
            role=message.role,
            content=message.content,
            reasoning_content=message.reasoning_content,
            tool_calls=message.tool_calls,
        )
        logprobs = output.logprobs if output.HasField("logprobs") else None
        chunk.outputs.append(
            chat_pb2.CompletionOutputChunk(
                index=output.index, finish_reason=output.finish_reason, delta=delta, logprobs=logprobs
            )
        )
    return chunk


def _delta(choice: Json) -> Json:
    return object_of(choice.get("delta", choice.get("message")))
