"""Takes the JSON of a chat completion, hands on xAI's message for it.

Servers leave members out, send null for text and floats for counts, and call the same thing by several names. Whatever
comes, the outcome is a message or NotACompletion.
"""

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any, cast

import msgspec

from raincheck.core.canonical import Canonical
from raincheck.core.clock import SECOND
from raincheck.core.model import Priority
from raincheck.core.responses import Json
from raincheck.grpc.problems import Ended, Problem, problem_of_failure
from raincheck.grpc.protos import chat_pb2, sample_pb2, usage_pb2
from raincheck.upstream.openai.failures import NOT_JSON, streamed

Response = chat_pb2.GetChatCompletionResponse

MOST_OUTPUTS = 1024
"""An index beyond is no index: the SDK makes room for all below it."""
_INT32, _INT64 = (1 << 31) - 1, (1 << 63) - 1
_YEAR_9999 = 253_402_300_799
"""The last second that a Timestamp may have."""
_REASONS: Mapping[object, Any] = {
    "length": sample_pb2.REASON_MAX_LEN,
    "max_tokens": sample_pb2.REASON_MAX_LEN,
    "tool_calls": sample_pb2.REASON_TOOL_CALLS,
    "function_call": sample_pb2.REASON_TOOL_CALLS,
}
_TIERS: Mapping[object, Any] = {
    "default": usage_pb2.SERVICE_TIER_DEFAULT,
    "priority": usage_pb2.SERVICE_TIER_PRIORITY,
}


class NotACompletion(Ended):
    """What came is no chat completion; it says why as far as it can be told."""


def completion(body: bytes, *, response_id: str | None = None) -> Response:
    """The completion, under its own id if no other is given. Raises NotACompletion."""
    told = read_json(body)
    choices = objects(told.get("choices"))
    if not choices:
        raise no_completion(told, body)
    answer = Response(usage=usage_of(told.get("usage")), citations=_citations(told.get("citations")))
    set_frame(answer, told, response_id)
    indices = [index_of(choice, position) for position, choice in enumerate(choices)]
    if len(set(indices)) < len(indices):  # Some give them all the same.
        indices = list(range(len(choices)))
    answer.outputs.extend(map(_output, choices, indices))
    return answer


def response(body: bytes, response_id: str, created_at: int, priority: Priority) -> Response:
    """The completion of a recorded request, whose time (in microseconds) and tier stand in for what the upstream left
    out. Raises NotACompletion."""
    answer = completion(body, response_id=response_id)
    if not answer.HasField("created"):
        answer.created.FromMicroseconds(created_at // SECOND * SECOND)
    if not answer.service_tier:
        prior = priority is Priority.PRIORITY
        answer.service_tier = usage_pb2.SERVICE_TIER_PRIORITY if prior else usage_pb2.SERVICE_TIER_DEFAULT
    return answer


def read_json(body: bytes) -> Json:
    """The members of a JSON object. Raises NotACompletion."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except NOT_JSON:
        raise NotACompletion(
            Problem(Canonical.INTERNAL, "The upstream answered something that is no JSON object.", "upstream_not_json")
        ) from None


def no_completion(told: Json, body: bytes) -> NotACompletion:
    """For JSON that has no choices: an error under a success's status in the upstream's words, or that it is odd."""
    if told.get("error") or told.get("object") == "error":
        return failed(body)
    words = "The upstream's answer has no choices in it: it is no chat completion."
    return NotACompletion(Problem(Canonical.INTERNAL, words, "not_a_completion"))


def failed(body: bytes) -> NotACompletion:
    """For an error that came as if it were an answer, or in a stream."""
    error = streamed("that serves this model", body).error
    return NotACompletion(problem_of_failure(msgspec.structs.replace(error, upstream=None)))


def set_frame(message: Response | chat_pb2.GetChatCompletionChunk, told: Json, response_id: str | None) -> None:
    """What stands around the outputs, in a completion and in each chunk of one."""
    message.id = response_id or text_of(told.get("id"))
    message.model = text_of(told.get("model"))
    message.system_fingerprint = text_of(told.get("system_fingerprint"))
    message.service_tier = _TIERS.get(text_of(told.get("service_tier")), usage_pb2.SERVICE_TIER_UNSPECIFIED)
    if created := count_of(told.get("created"), _YEAR_9999):
        message.created.FromSeconds(created)


def index_of(choice: Json, position: int) -> int:
    """Which of the outputs a choice is: as it says, else by where it stands."""
    index = choice.get("index")
    return index if type(index) is int and 0 <= index < MOST_OUTPUTS else position


def text_of(value: object) -> str:
    """Text, whole or in parts as some have it; nothing for all else."""
    if isinstance(value, str):
        return value
    return "".join(text for part in objects(value) if isinstance(text := part.get("text"), str))


def reasoning_of(message: Json) -> str:
    """What the model thought: most servers call it one of these."""
    return text_of(message.get("reasoning_content")) or text_of(message.get("reasoning"))


def count_of(value: object, most: int = _INT32) -> int:
    """A count, 0 for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value):
        return 0
    return min(max(int(value), 0), most)


def objects(value: object) -> list[Json]:
    """The objects in a list, none for all else."""
    if not isinstance(value, list):
        return []
    return [cast("Json", item) for item in cast("list[Any]", value) if isinstance(item, dict)]


def object_of(value: object) -> Json:
    """An object, an empty one for all else."""
    return cast("Json", value) if isinstance(value, dict) else {}


def logprobs_of(choice: Json) -> chat_pb2.LogProbs | None:
    """The log probabilities of a choice's tokens, when it has some."""
    content = objects(object_of(choice.get("logprobs")).get("content"))
    if not content:
        return None
    tokens = [
        chat_pb2.LogProb(**_token(each), top_logprobs=[chat_pb2.TopLogProb(**_token(top)) for top in tops])
        for each in content
        for tops in [objects(each.get("top_logprobs"))]
    ]
    return chat_pb2.LogProbs(content=tokens)


def usage_of(value: object) -> usage_pb2.SamplingUsage:
    """What was used, counted as the upstream counts."""
    usage = object_of(value)
    answered, asked = object_of(usage.get("completion_tokens_details")), object_of(usage.get("prompt_tokens_details"))
    prompt, made = count_of(usage.get("prompt_tokens")), count_of(usage.get("completion_tokens"))
    images = count_of(asked.get("image_tokens"))
    told = usage_pb2.SamplingUsage(
        prompt_tokens=prompt,
        completion_tokens=made,
        total_tokens=count_of(usage.get("total_tokens")) or min(prompt + made, _INT32),
        prompt_text_tokens=count_of(asked.get("text_tokens")) or max(prompt - images, 0),
        prompt_image_tokens=images,
        cached_prompt_text_tokens=count_of(asked.get("cached_tokens")),
        reasoning_tokens=count_of(answered.get("reasoning_tokens")),
        num_sources_used=count_of(usage.get("num_sources_used")),
    )
    if "cost_in_usd_ticks" in usage:
        told.cost_in_usd_ticks = count_of(usage["cost_in_usd_ticks"], _INT64)
    return told


def _output(choice: Json, index: int) -> chat_pb2.CompletionOutput:
    message = object_of(choice.get("message"))
    return chat_pb2.CompletionOutput(
        index=index,
        finish_reason=_REASONS.get(text_of(choice.get("finish_reason")), sample_pb2.REASON_STOP),
        logprobs=logprobs_of(choice),
        message=chat_pb2.CompletionMessage(
            role=chat_pb2.ROLE_ASSISTANT,
            content=text_of(message.get("content")) or text_of(message.get("refusal")),
            reasoning_content=reasoning_of(message),
            tool_calls=_tool_calls(message),
        ),
    )


def _tool_calls(message: Json) -> list[chat_pb2.ToolCall]:
    calls = objects(message.get("tool_calls"))
    if not calls and isinstance(message.get("function_call"), dict):  # As it was before there were tools.
        calls = [{"function": message["function_call"]}]
    return [
        chat_pb2.ToolCall(
            # A result has to name its call.
            id=text_of(call.get("id")) or f"call_{position}",
            type=chat_pb2.TOOL_CALL_TYPE_CLIENT_SIDE_TOOL,
            function=chat_pb2.FunctionCall(
                name=text_of(function.get("name")), arguments=_arguments(function.get("arguments"))
            ),
        )
        for position, call in enumerate(calls)
        for function in [object_of(call.get("function"))]
    ]


def _arguments(value: object) -> str:
    """As JSON in any case: the SDK reads them by itself, and would fall over what a model got wrong."""
    if value is None or value == "":
        return "{}"
    if not isinstance(value, str):
        return msgspec.json.encode(value).decode()
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return json.dumps({"invalid_json": value})
    return value


def _token(told: Json) -> dict[str, Any]:
    token, logprob, spelled = text_of(told.get("token")), told.get("logprob"), told.get("bytes")
    number = isinstance(logprob, int | float) and not isinstance(logprob, bool) and _finite(logprob)
    return {"token": token, "logprob": logprob if number else 0.0, "bytes": _bytes(spelled, token)}


def _bytes(spelled: object, token: str) -> bytes:
    try:
        return bytes(cast("list[int]", spelled)) if isinstance(spelled, list) else token.encode()
    except (TypeError, ValueError):
        return token.encode()


def _citations(value: object) -> list[str]:
    return [each for each in cast("list[Any]", value) if isinstance(each, str)] if isinstance(value, list) else []


def _finite(number: float) -> bool:
    try:
        return isfinite(number)
    except OverflowError:  # An integer beyond all floats.
        return False
