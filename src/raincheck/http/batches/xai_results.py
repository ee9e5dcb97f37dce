"""What became of lines, in all the shapes that xAI's clients look for it in."""

from collections.abc import Mapping, Sequence

from msgspec import Raw

from raincheck.core.outcome import RequestError
from raincheck.intake.batches.results import Ending

KINDS: Mapping[str, str] = {
    "/chat/completions": "chat_get_completion",
    "/images/generations": "image_response",
    "/images/edits": "image_response",
    "/videos/generations": "video_response",
    "/videos/edits": "video_response",
    "/videos/extensions": "video_response",
}
"""What an answer is called, by what was asked for."""

# gRPC's numbers, which is what clients compare; no error has 0.
_CANCELLED, _INVALID, _DEADLINE, _NOT_FOUND, _EXHAUSTED, _INTERNAL = 1, 3, 4, 5, 8, 13
_CODES: Mapping[str | None, int] = {
    "batch_cancelled": _CANCELLED,
    "cancelled": _CANCELLED,
    "batch_expired": _DEADLINE,
    "deadline_exceeded": _DEADLINE,
    "result_gone": _NOT_FOUND,
    "model_not_found": _NOT_FOUND,
}
_TYPES: Mapping[str, int] = {
    "invalid_request_error": _INVALID,
    "not_found_error": _NOT_FOUND,
    "rate_limit_error": _EXHAUSTED,
}


def results_page(endings: Sequence[Ending], token: str | None) -> dict[str, object]:
    """A page: `results` as the API has it, `succeeded` and `failed` as other clients read it."""
    results, succeeded, failed = list[object](), list[object](), list[object]()
    for each in endings:
        if each.answer is not None:
            answer = Raw(each.answer)
            response = {_kind(each): answer}
            results.append({"batch_request_id": each.custom_id, "batch_result": {"response": response}})
            succeeded.append({"batch_request_id": each.custom_id, "response": answer})
            continue
        error = each.error or RequestError("The request failed.")
        told = {"code": _code(error), "message": error.message}
        results.append(
            {
                "batch_request_id": each.custom_id,
                "batch_result": {"error": told},
                "error_message": error.message,
            }
        )
        failed.append({"batch_request_id": each.custom_id, "error_message": error.message})
    return {"results": results, "succeeded": succeeded, "failed": failed, "pagination_token": token}


def _kind(each: Ending) -> str:
    path = "" if each.request is None else each.request.path
    return KINDS.get(path) or path.strip("/").replace("/", "_")


def _code(error: RequestError) -> int:
    return _CODES.get(error.code) or _TYPES.get(error.type, _INTERNAL)
