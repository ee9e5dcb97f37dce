"""What /schema says of responses."""

from typing import Any

from raincheck.core.responses import response_object
from raincheck.http import examples
from raincheck.http.describing import described, parameter
from raincheck.http.openapi import KEY, PREFER, WAIT
from raincheck.http.shapes import answers_with_events

RESPONSE_ID = "resp_0199a3c2f4b87d3e9a51c0de5f00ba47"
ASKED: dict[str, Any] = {"model": "smollm2-135m", "input": "What is a raincheck?", "background": True}
CREATED_AT = 1_790_000_000_000_000
QUEUED = response_object(ASKED, RESPONSE_ID, CREATED_AT, "queued")
MESSAGE: dict[str, Any] = {
    "id": "msg_0199a3c2f4b87d3e9a51c0de5f00ba47_0",
    "type": "message",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "A promise to take you later.", "annotations": []}],
}
COMPLETED = response_object(
    ASKED,
    RESPONSE_ID,
    CREATED_AT,
    "completed",
    output=[MESSAGE],
    completed_at=CREATED_AT + 4_000_000,
    usage={
        "input_tokens": 14,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 23,
    },
)
CANCELLED = response_object(ASKED, RESPONSE_ID, CREATED_AT, "cancelled")
ITEM: dict[str, Any] = {
    "id": "msg_0199a3c2f4b87d3e9a51c0de5f00ba47_0",
    "type": "message",
    "status": "completed",
    "role": "user",
    "content": [{"type": "input_text", "text": "What is a raincheck?"}],
}
ITEMS = {"object": "list", "data": [ITEM], "first_id": ITEM["id"], "last_id": ITEM["id"], "has_more": False}

NOT_VALID = ("Not valid.", examples.error("invalid_request", "`input` is missing; send a text, or a list of items."))
UNKNOWN = ("No such response, or purged.", examples.error("not_found", "No request 'resp_1'.", "not_found_error"))
ID = parameter("response_id", "path", "The response's id.", required=True)

CREATE = described(
    "Create a response, now or later",
    """With `"background": true` it is recorded and answered at once, with status `queued`; `service_tier` chooses its
    line, and `metadata` is its record's too; `webhook_url`, `webhook_events` and `include_result` say who is told. With
    `"stream": true` besides, the answer is the stream of its events, which may be left and gone on with at any time;
    its header `raincheck-request-id` and its first event, which comes at once, tell the id. `previous_response_id` puts
    the input and the output of a response that was completed here before the input, for a key that may read. Without
    `background` the call is passed through to the upstream, or deferred natively as any other.""",
    {
        200: ("Recorded (or, passed through, the upstream's answer).", QUEUED),
        400: NOT_VALID,
        404: examples.ERRORS[404],
        413: examples.ERRORS[413],
        429: examples.ERRORS[429],
        501: ("Nowhere to keep events.", examples.error("no_object_store", "Set `store.blobs`.", "server_error")),
    },
    body=ASKED,
    parameters=[PREFER, KEY],
    loose=True,
    also=answers_with_events,
)
BESIDE = described(
    "Count the tokens of an input, or compact one",
    "Passed through to the upstream that serves the model.",
    {
        200: ("The upstream's answer.", {"object": "response.input_tokens", "input_tokens": 14}),
        404: examples.ERRORS[404],
    },
    body={"model": "smollm2-135m", "input": "What is a raincheck?"},
    loose=True,
)
RETRIEVE = described(
    "Read a response",
    """200 wherever it stands. One whose deadline passed has `failed`, and its `error.type` is `deadline_exceeded`; one
    that was purged is a 404. With `stream=true`, server-sent events, which is for those that were created with
    `stream`: all that has happened behind `starting_after`, then what happens. Events of a second attempt are numbered
    from 1,000,000 on, of a third from 2,000,000. Who has seen some of an attempt that came to nothing is told no more
    than the terminal event, with the whole response in it. One that ends without an answer is told in
    `response.failed`, its status in it.""",
    {200: ("The response.", COMPLETED), 400: NOT_VALID, 404: UNKNOWN},
    parameters=[
        ID,
        WAIT,
        parameter("stream", "query", "`true` for its events.", "boolean"),
        parameter("starting_after", "query", "The `sequence_number` of the last event seen.", "integer"),
    ],
    also=answers_with_events,
)
INPUT_ITEMS = described(
    "List what a response was asked",
    "The items of its input, with those of the responses that it went on from. Newest first unless told otherwise.",
    {200: ("A page.", ITEMS), 404: UNKNOWN},
    parameters=[
        ID,
        parameter("after", "query", "The `last_id` of the page before."),
        parameter("limit", "query", "1 to 100, by default 20.", "integer"),
        parameter("order", "query", "`desc` or `asc`."),
    ],
)
CANCEL = described(
    "Cancel a response",
    "A queued one is never begun, one in progress is aborted. Cancelling again changes nothing.",
    {
        200: ("The response.", CANCELLED),
        400: ("It has ended.", examples.error("invalid_request", "Cannot cancel a completed response.")),
        404: UNKNOWN,
    },
    parameters=[ID],
)
DELETE = described(
    "Forget a response",
    "One that has ended is gone at once, with its events.",
    {
        200: ("Gone.", {"id": RESPONSE_ID, "object": "response", "deleted": True}),
        400: ("It has not ended.", examples.error("invalid_request", "Cannot delete it: it is queued.")),
        404: UNKNOWN,
    },
    parameters=[ID],
)
