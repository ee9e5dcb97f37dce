"""What became of lines, in all the shapes that xAI's clients look for it in."""

from collections.abc import Mapping, Sequence

from msgspec import Raw

from raincheck.core.canonical import canonical_of
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
        told = {"code": int(canonical_of(error)), "message": error.message}
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
