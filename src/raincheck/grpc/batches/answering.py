"""Takes batches, where their lines stand and what became of them, hands on the messages that tell of it."""

from collections.abc import Mapping

from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.status_pb2 import Status as RpcStatus
from msgspec import structs

from raincheck.core.batches import Batch
from raincheck.core.canonical import Canonical
from raincheck.core.model import Request
from raincheck.core.outcome import RequestError
from raincheck.grpc.batches.images import image_response
from raincheck.grpc.chat.answering import response as completion
from raincheck.grpc.problems import LARGEST, Ended, Problem, problem_of_failure, result_too_large
from raincheck.grpc.protos import batch_pb2, chat_pb2, image_pb2, video_pb2
from raincheck.intake.batches.overview import Standing, State
from raincheck.intake.batches.results import Ending
from raincheck.intake.batches.xai_words import cancelled_at, refusal, state_of

MOST_BYTES = LARGEST - (1 << 16)
"""Of a page: what is around it needs some room, too."""
STATES: Mapping[State, batch_pb2.BatchRequestMetadata.State] = {
    "pending": batch_pb2.BatchRequestMetadata.STATE_PENDING,
    "succeeded": batch_pb2.BatchRequestMetadata.STATE_SUCCEEDED,
    "cancelled": batch_pb2.BatchRequestMetadata.STATE_CANCELLED,
    "failed": batch_pb2.BatchRequestMetadata.STATE_FAILED,
}


def told(batch: Batch) -> batch_pb2.Batch:
    """A batch; fields that speak of an end are there only once they apply: clients take any for one."""
    message = batch_pb2.Batch(
        batch_id=batch.id,
        name=batch.name or "",
        create_time=_moment(batch.created_at),
        expire_time=_moment(batch.expires_at),
        state=batch_pb2.BatchState(**structs.asdict(state_of(batch))),
        cost_breakdown=batch_pb2.BatchCostBreakdown(total_cost_usd_ticks=batch.usage.cost_ticks),
        input_file_id=batch.input_file_id,
        cancel_by_xai_message=refusal(batch),
    )
    if (cancelled := cancelled_at(batch)) is not None:
        message.cancel_time.CopyFrom(_moment(cancelled))
    return message


def metadata_of(line: Standing) -> batch_pb2.BatchRequestMetadata:
    """Where one request of a batch stands."""
    return batch_pb2.BatchRequestMetadata(
        batch_request_id=line.custom_id,
        endpoint=line.url,
        model=line.model,
        state=STATES[line.state],
        create_time=_moment(line.created_at),
        finish_time=None if line.ended_at is None else _moment(line.ended_at),
    )


def results_of(endings: list[Ending]) -> list[batch_pb2.BatchResult]:
    """What became of the first of these: as many as fit into one message, and one at least."""
    results, size = list[batch_pb2.BatchResult](), 0
    for ending in endings:
        result = result_of(ending)
        size += result.ByteSize() + 8
        if results and size > MOST_BYTES:
            break
        results.append(result)
    return results


def result_of(ending: Ending) -> batch_pb2.BatchResult:
    """What became of one request; the SDK takes it for good when there is no error with a code."""
    try:
        response = _response(ending)
    except Ended as ended:
        return _failed(ending, ended.problem)
    result = batch_pb2.BatchResult(batch_request_id=ending.custom_id, response=response)
    if result.ByteSize() > MOST_BYTES and ending.request is not None:
        return _failed(ending, result_too_large(ending.request.id).problem)
    return result


def asked_of(ending: Ending) -> batch_pb2.BatchRequest:
    """Which request it was: its id, and the model that it asked for what."""
    asked = batch_pb2.BatchRequest(batch_request_id=ending.custom_id)
    match ending.request:
        case Request(path="/chat/completions", model=model):
            asked.completion_request.CopyFrom(chat_pb2.GetCompletionsRequest(model=model))
        case Request(path="/images/generations" | "/images/edits", model=model):
            asked.image_request.CopyFrom(image_pb2.GenerateImageRequest(model=model))
        case Request(path="/videos/generations" | "/videos/edits", model=model):
            asked.video_request.CopyFrom(video_pb2.GenerateVideoRequest(model=model))
        case Request(path="/videos/extensions", model=model):
            asked.video_extension_request.CopyFrom(video_pb2.ExtendVideoRequest(model=model))
        case _:
            pass
    return asked


def _response(ending: Ending) -> batch_pb2.BatchResultData:
    """Raises Ended when there is none, or none that can be told."""
    request, answer = ending.request, ending.answer
    if request is None or answer is None:
        raise Ended(problem_of_failure(ending.error or RequestError("The request failed.")))
    match request.path:
        case "/chat/completions":
            return batch_pb2.BatchResultData(
                completion_response=completion(answer, request.id, request.created_at, request.priority)
            )
        case "/images/generations" | "/images/edits":
            return batch_pb2.BatchResultData(image_response=image_response(answer, request.model))
        case "/videos/generations" | "/videos/edits" | "/videos/extensions":
            return batch_pb2.BatchResultData(video_response=video_pb2.VideoResponse.FromString(answer))
        case path:
            words = (
                f"It succeeded, but xAI's protocol has no message for an answer of /v1{path}: read it over HTTP at "
                f"/v1/requests/{request.id}/result."
            )
            raise Ended(Problem(Canonical.UNIMPLEMENTED, words, "unimplemented"))


def _failed(ending: Ending, problem: Problem) -> batch_pb2.BatchResult:
    error = RpcStatus.FromString(problem.details())
    error.message = problem.message  # Whole: this is no metadata, which has to be short.
    return batch_pb2.BatchResult(batch_request_id=ending.custom_id, error=error)


def _moment(us: int) -> Timestamp:
    moment = Timestamp()
    moment.FromMicroseconds(us)
    return moment
