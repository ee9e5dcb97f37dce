"""What /schema says of batches."""

from typing import Any

from raincheck.http import examples
from raincheck.http.describing import described, parameter
from raincheck.http.openapi import KEY

ID = "batch_0199a3c2f4b87d3e9a51c0de5f00ba47"
XAI_ID = "0199a3c2-f4b8-7d3e-9a51-c0de5f00ba47"
COUNTS = {"total": 1000, "completed": 412, "failed": 3, "cancelled": 0, "expired": 0}
BATCH: dict[str, Any] = {
    "id": ID,
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "model": "smollm2-135m",
    "errors": None,
    "input_file_id": "file_0199a3c2f4b87d3e9a51c0de5f00ba47",
    "completion_window": "24h",
    "status": "in_progress",
    "output_file_id": None,
    "error_file_id": None,
    "created_at": 1790000000,
    "in_progress_at": 1790000001,
    "expires_at": 1790086400,
    "finalizing_at": None,
    "completed_at": None,
    "failed_at": None,
    "expired_at": None,
    "cancelling_at": None,
    "cancelled_at": None,
    "request_counts": COUNTS,
    "usage": {
        "input_tokens": 9_800,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 4_120,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 13_920,
    },
    "metadata": {"team": "blue"},
    "raincheck": {
        "fed": 700,
        "pending": 585,
        "priority": "batch",
        "cost_in_usd_ticks": 0,
        "webhook_url": None,
        "webhook_events": [],
    },
}
XAI_BATCH: dict[str, Any] = {
    "batch_id": XAI_ID,
    "name": "nightly",
    "create_time": "2026-09-21T14:13:20.000000Z",
    "expire_time": "2026-09-22T14:13:20.000000Z",
    "expires_at": "2026-09-22T14:13:20.000000Z",
    "cancel_time": None,
    "cancel_by_xai_message": None,
    "create_api_key_id": "",
    "input_file_id": None,
    "state": {"num_requests": 2, "num_pending": 1, "num_success": 1, "num_error": 0, "num_cancelled": 0},
    "cost_breakdown": {"total_cost_usd_ticks": 0},
}
CREATING = {
    "input_file_id": BATCH["input_file_id"],
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
    "metadata": {"team": "blue"},
    "webhook_url": "https://your-server.example/webhook",
    "webhook_events": ["completed", "failed"],
}
XAI_CREATING = {"name": "nightly"}
CHAT = {"model": "smollm2-135m", "messages": examples.MESSAGES}
ADDING = {"batch_requests": [{"batch_request_id": "row-1", "batch_request": {"chat_get_completion": CHAT}}]}
PAGE = {
    "object": "list",
    "data": [BATCH],
    "first_id": ID,
    "last_id": ID,
    "has_more": False,
    "batches": [XAI_BATCH],
    "pagination_token": None,
}
XAI_PAGE = {"batches": [XAI_BATCH], "pagination_token": None}
METADATA = {
    "batch_request_metadata": [
        {
            "batch_request_id": "row-1",
            "endpoint": "/v1/chat/completions",
            "model": "smollm2-135m",
            "create_time": XAI_BATCH["create_time"],
            "finish_time": None,
            "state": "pending",
        }
    ],
    "pagination_token": None,
}
FINISHED = {
    "id": "batch_req_0199a3c2f4b87d3e9a51c0de5f00ba48",
    "custom_id": "row-1",
    "line": 1,
    "ended": 1,
    "mark": 1,
    "response": {
        "status_code": 200,
        "request_id": "batch_req_0199a3c2f4b87d3e9a51c0de5f00ba48",
        "body": examples.COMPLETION,
    },
    "error": None,
}
RESULTS_PAGE = {"object": "list", "data": [FINISHED], "last": 1, "has_more": False, "batch": BATCH}
ESTIMATING = {
    "lines": [{"endpoint": "/v1/chat/completions", "model": "smollm2-135m", "requests": 1000, "tokens": 96000}]
}
ESTIMATED = {
    "object": "batch.estimate",
    "seconds": 412.5,
    "models": [
        {
            "model": "smollm2-135m",
            "requests": 1000,
            "tokens": 96000,
            "waiting": 3,
            "seconds": 412.5,
            "basis": "measured",
        }
    ],
}
ENDED = ("It has ended.", examples.error("already_ended", "The batch has already ended as completed."))
CLOSED = ("It takes no more.", examples.error("batch_closed", "This batch takes no more requests."))

EITHER = ("BatchObject", "XaiBatchObject")
"""By its dialect."""
BATCH_ID = parameter("batch_id", "path", "The batch's id: `batch_…`, or a bare UUID in xAI's dialect.", required=True)
WAIT = parameter(
    "wait", "query", "Seconds (0 to 60) to hold the answer until the batch has ended; or `Prefer: wait=N`.", "number"
)
LIMIT = parameter("limit", "query", "1 to 1,000, by default 100; xAI's clients also say `page_size`.", "integer")
TOKEN = parameter("pagination_token", "query", "The one of the page before; it is null on the last page.")

CREATE = described(
    "Create a batch",
    """From a file that was uploaded with the purpose `batch`, each line a request: `{"custom_id", "method": "POST",
    "url", "body"}`. The file is checked whole before anything of it is begun. `completion_window` is any length of time
    from `1m` to `30d`; lines that have not ended by then expire, and those that have are kept. With a `name` and no
    `endpoint` it is a batch in xAI's dialect, to which requests are added.""",
    {200: ("The batch.", BATCH), 400: examples.ERRORS[400], 404: examples.ERRORS[404], 409: examples.ERRORS[409]},
    body=CREATING,
    parameters=[KEY],
    schema=EITHER,
)
LIST = described(
    "List batches",
    """Newest first, each dialect's in an array of its own: OpenAI's in `data`, paged with `after`; xAI's in `batches`,
    paged with `pagination_token`.""",
    {200: ("A page.", PAGE), 400: examples.ERRORS[400]},
    parameters=[
        parameter("after", "query", "The `last_id` of the page before."),
        parameter("limit", "query", "1 to 100, by default 20.", "integer"),
        TOKEN,
    ],
)
RETRIEVE = described(
    "Read a batch",
    "Where it stands, how many of its lines have ended and how, and its files once it has ended; in its own dialect.",
    {200: ("The batch.", BATCH), 404: examples.ERRORS[404]},
    parameters=[BATCH_ID, WAIT],
    schema=EITHER,
)
CANCEL = described(
    "Cancel a batch",
    """Nothing more of it is begun, and what is under way is ended; what has ended already is kept, and stands in its
    files. Cancelling again changes nothing.""",
    {200: ("The batch.", BATCH | {"status": "cancelling"}), 404: examples.ERRORS[404], 409: ENDED},
    parameters=[BATCH_ID],
    schema=EITHER,
)
XAI_CANCEL = described(
    "Cancel a batch, as xAI has it",
    "POST to `{batch_id}:cancel`.",
    {200: ("The batch.", XAI_BATCH), 404: examples.ERRORS[404], 409: ENDED},
    parameters=[BATCH_ID],
    schema="XaiBatchObject",
)
XAI_CREATE = described(
    "Create a batch, as xAI has it",
    """Requests are added to it until it expires or is cancelled; or it is made from the lines of `input_file_id`, and
    takes no others. It is done when `num_pending` is 0.""",
    {200: ("The batch.", XAI_BATCH), 400: ("Not valid.", examples.XAI_ERROR)},
    body=XAI_CREATING,
    parameters=[KEY],
    schema="XaiBatchObject",
)
XAI_LIST = described(
    "List batches, as xAI has it", "Newest first.", {200: ("A page.", XAI_PAGE)}, parameters=[LIMIT, TOKEN]
)
XAI_RETRIEVE = described(
    "Read a batch, as xAI has it",
    "How many of its requests have ended, and how.",
    {200: ("The batch.", XAI_BATCH), 404: ("Unknown.", examples.XAI_ERROR)},
    parameters=[BATCH_ID, WAIT],
    schema="XaiBatchObject",
)
ADD = described(
    "Add requests to a batch",
    """Up to 10,000 a call, all of them or none. Each has a `batch_request_id` of its own, which is made up when it is
    left out, and one of `chat_get_completion`, `image_generation`, `video_generation` and their like; a line of
    OpenAI's form will do as well.""",
    {200: ("The batch.", XAI_BATCH), 400: examples.ERRORS[400], 404: examples.ERRORS[404], 409: CLOSED},
    body=ADDING,
    parameters=[BATCH_ID, KEY],
    schema="XaiBatchObject",
)
REQUESTS = described(
    "List a batch's requests",
    "In the order in which they were handed in: `pending`, `succeeded`, `failed` or `cancelled`.",
    {200: ("A page.", METADATA), 404: examples.ERRORS[404]},
    parameters=[BATCH_ID, LIMIT, TOKEN],
)
RESULTS_SEEN = parameter(
    "after", "query", "The `last` of the page before, or the `mark` of a line; what ended since is told.", "integer"
)
RESULTS = described(
    "Read what has ended of a batch",
    """In the order in which lines ended, while others still run. `last` is where to go on from, and each line's `mark`
    where to go on behind that line; lines that were never begun come last, once the batch has ended. A batch in xAI's
    dialect answers with `results`, `succeeded` and `failed`, and pages with `pagination_token`.""",
    {200: ("A page.", RESULTS_PAGE), 404: examples.ERRORS[404]},
    parameters=[
        BATCH_ID,
        RESULTS_SEEN,
        LIMIT,
        TOKEN,
        parameter("wait", "query", "Seconds (0 to 60) to hold an answer that would be empty.", "number"),
    ],
    loose=True,
)
ESTIMATE = described(
    "Estimate how long a batch would take",
    """By how fast each model's queue was of late, with what waits there already, or by the limits set on it when those
    are slower; null where there is nothing to go by.""",
    {200: ("The estimate.", ESTIMATED), 400: examples.ERRORS[400], 404: examples.ERRORS[404]},
    body=ESTIMATING,
)
