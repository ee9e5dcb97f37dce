"""What /schema says of videos."""

from typing import Any

from raincheck.http import examples
from raincheck.http.describing import described, parameter
from raincheck.http.openapi import FILTERS, KEY, PREFER, SINCE, WAIT
from raincheck.http.shapes import FILE, TEXT, answers_with_bytes, takes_form

NATIVE_ID = "video_gen_0199a3c2f4b87d3e9a51c0de5f00ba47"
OPENAI_ID = "video_0199a3c2f4b87d3e9a51c0de5f00ba47"
XAI_ID = "0199a3c2-f4b8-7d3e-9a51-c0de5f00ba47"
LINK = "https://raincheck.example/media/n8Zt…/video.mp4"

GENERATION: dict[str, Any] = {
    "model": "preview",
    "prompt": "A rocket launching into space",
    "duration": 5,
    "aspect_ratio": "16:9",
    "resolution": "480p",
    "webhook_url": "https://your-server.example/webhook",
    "webhook_events": ["completed", "failed"],
    "include_result": False,
}
EDITING: dict[str, Any] = {"model": "preview", "prompt": "Make it black and white", "video": {"request_id": NATIVE_ID}}
EXTENSION: dict[str, Any] = {"model": "preview", "prompt": "It lands", "video": {"url": LINK}, "duration": 5}
TICKET: dict[str, Any] = {
    "id": NATIVE_ID,
    "request_id": NATIVE_ID,
    "object": "video",
    "status": "pending",
    "created": 1790000000,
    "created_at": 1790000000,
    "model": "preview",
    "progress": 0,
}
COMPLETED: dict[str, Any] = TICKET | {
    "operation": "video.generation",
    "status": "completed",
    "completed_at": 1790000012,
    "expires_at": 1790604812,
    "progress": 100,
    "progress_message": None,
    "prompt": "A rocket launching into space",
    "seconds": "5",
    "size": "854x480",
    "seed": 7,
    "remixed_from_video_id": None,
    "service_tier": "default",
    "metadata": {},
    "webhook_url": None,
    "webhook_events": [],
    "include_result": False,
    "data": [
        {
            "url": LINK,
            "content_type": "video/mp4",
            "duration": 5.0,
            "width": 854,
            "height": 480,
            "bytes": 482130,
            "thumbnail_url": LINK.replace("video.mp4", "thumbnail.webp"),
            "spritesheet_url": LINK.replace("video.mp4", "spritesheet.webp"),
        }
    ],
    "usage": None,
    "error": None,
}
CANCELLED = {name: value for name, value in COMPLETED.items() if name != "data"} | {
    "status": "cancelled",
    "completed_at": None,
    "progress": 0,
}
OPENAI_VIDEO: dict[str, Any] = {
    "id": OPENAI_ID,
    "object": "video",
    "model": "preview",
    "status": "queued",
    "progress": 0,
    "created_at": 1790000000,
    "completed_at": None,
    "expires_at": None,
    "prompt": "A rocket launching into space",
    "size": "1280x720",
    "seconds": "4",
    "remixed_from_video_id": None,
    "error": None,
}
PAGE = {"object": "list", "data": [OPENAI_VIDEO], "first_id": OPENAI_ID, "last_id": OPENAI_ID, "has_more": False}
XAI_TICKET = {"request_id": XAI_ID}
XAI_DONE: dict[str, Any] = {
    "status": "done",
    "progress": 100,
    "model": "preview",
    "video": {"url": LINK, "duration": 5, "respect_moderation": True},
}
XAI_PENDING = {"status": "pending", "progress": 40, "model": "preview"}
XAI_FAILED: dict[str, Any] = XAI_PENDING | {
    "status": "failed",
    "error": {"code": "cancelled", "message": "The request was cancelled."},
}
NOT_VALID = ("Not valid.", examples.error("invalid_request", "`prompt` is missing.", param="prompt"))
REFUSED = {400: NOT_VALID, 404: examples.ERRORS[404], 413: examples.ERRORS[413], 429: examples.ERRORS[429]}
XAI_REFUSED = {400: ("Not valid.", examples.XAI_ERROR)}

ID = parameter("video_id", "path", "The video's id; its kind decides which dialect answers.", required=True)
INPUTS = """An input is `{"url"}` (http, https, a data URI, or a link that this server gave), `{"file_id"}` (an uploaded
file), `{"request_id"}` (a video that was made here), such a text by itself, or a file in a multipart form."""

WITH_IMAGE = takes_form({"prompt": TEXT, "image": FILE})
WITH_VIDEO = takes_form({"prompt": TEXT, "video": FILE})
WITH_REFERENCE = takes_form({"prompt": TEXT, "input_reference": FILE})

GENERATE = described(
    "Generate a video, later",
    f"""Recorded and answered at once with its id. `prompt` says what it shall show, `image` is its first frame,
    `reference_images` what it shall look like. `duration` (or `seconds`), and either `size` or `aspect_ratio` and
    `resolution`, shape it; `seed` makes it repeatable where the upstream can. {INPUTS} Members that are not known here
    go to the upstream. Without a model, the first that makes videos. As a form or as JSON. With `Prefer: wait=N` the
    answer is the video when it ends in time.""",
    {200: ("Recorded.", TICKET), 202: ("Recorded, when asked for by `Prefer: respond-async`.", TICKET), **REFUSED},
    body=GENERATION,
    parameters=[PREFER, KEY],
    loose=True,
    also=WITH_IMAGE,
)
EDIT = described(
    "Edit a video",
    f"""As a generation, with the `video` to edit and a `prompt` that says what to change. {INPUTS} A form, or a video
    named as `{{"id"}}`, is OpenAI's dialect and is answered in it.""",
    {200: ("Recorded.", TICKET), **REFUSED},
    body=EDITING,
    parameters=[PREFER, KEY],
    loose=True,
    also=WITH_VIDEO,
)
EXTEND = described(
    "Extend a video",
    f"""Goes on where `video` ends, for `duration` (or `seconds`) more; the result is all of it. {INPUTS} A form, or a
    video named as `{{"id"}}`, is OpenAI's dialect and is answered in it.""",
    {200: ("Recorded.", TICKET), **REFUSED},
    body=EXTENSION,
    parameters=[PREFER, KEY],
    loose=True,
    also=WITH_VIDEO,
)
LIST = described(
    "List videos",
    "Each in the dialect that it was asked for in, as a read shows it but for its place in line.",
    {200: ("A page.", PAGE), 400: NOT_VALID},
    parameters=[each for each in FILTERS if each.name != "queue"],
)
RETRIEVE = described(
    "Read a video",
    """Where it stands and, once it is completed, `data` with links that need no key until they expire. What was asked
    for in OpenAI's or in xAI's dialect (its id tells) is answered in that. Events are at /v1/requests/{id}/events.""",
    {200: ("The video.", COMPLETED), 202: ("xAI's dialect: not ended yet.", XAI_PENDING), 404: examples.ERRORS[404]},
    parameters=[ID, WAIT, SINCE],
    loose=True,
)
CANCEL = described(
    "Cancel a video",
    "A pending one is never begun, one under way is stopped, wherever it is made. Cancelling again changes nothing.",
    {200: ("The video.", CANCELLED), 404: examples.ERRORS[404], 409: examples.ERRORS[409]},
    parameters=[ID],
    loose=True,
)
DELETE = described(
    "Forget a video",
    "One that has ended is gone at once, with its files, and its links lead nowhere.",
    {
        200: ("Gone.", {"id": NATIVE_ID, "object": "video.deleted", "deleted": True}),
        404: examples.ERRORS[404],
        409: examples.ERRORS[409],
    },
    parameters=[ID],
)
OPENAI_CREATE = described(
    "Create a video, as OpenAI has it",
    """A form or JSON. `input_reference` (a file, or `{"image_url"}` or `{"file_id"}`) is the first frame. What else
    /v1/videos/generations takes is taken here too.""",
    {200: ("Recorded.", OPENAI_VIDEO), **REFUSED},
    body={"model": "preview", "prompt": "A rocket launching into space", "seconds": "4", "size": "1280x720"},
    parameters=[PREFER, KEY],
    schema="OpenAIVideo",
    also=WITH_REFERENCE,
)
REMIX = described(
    "Remix a video",
    """A new video by another prompt, as long and as large as this one unless it says otherwise. The upstream is given
    the old one as well, as the `video` of a generation, and may draw on it.""",
    {200: ("Recorded.", OPENAI_VIDEO | {"remixed_from_video_id": OPENAI_ID}), **REFUSED},
    body={"prompt": "The same at night"},
    parameters=[ID, PREFER, KEY],
    schema="OpenAIVideo",
)
XAI_GENERATE = described(
    "Generate a video, as xAI has it",
    """As POST /v1/videos/generations; `image_url` and `video_url` may be texts, and with a `video_url` it is an
    edit. When a preference asks for the video itself, it stands beside `request_id`.""",
    {200: ("Recorded.", XAI_TICKET), **XAI_REFUSED},
    body=GENERATION,
    parameters=[PREFER, KEY],
    also=WITH_IMAGE,
)
XAI_EDIT = described(
    "Edit a video, as xAI has it",
    "As POST /v1/videos/edits.",
    {200: ("Recorded.", XAI_TICKET), **XAI_REFUSED},
    body=EDITING,
    parameters=[PREFER, KEY],
    also=WITH_VIDEO,
)
XAI_EXTEND = described(
    "Extend a video, as xAI has it",
    "As POST /v1/videos/extensions.",
    {200: ("Recorded.", XAI_TICKET), **XAI_REFUSED},
    body=EXTENSION,
    parameters=[PREFER, KEY],
    also=WITH_VIDEO,
)
XAI_RETRIEVE = described(
    "Collect a video, as xAI has it",
    """202 until it has ended. `expired` is said of one whose deadline passed and of one that was purged; one that was
    cancelled has `failed`.""",
    {200: ("It has ended.", XAI_DONE), 202: ("Not ended yet.", XAI_PENDING)},
    parameters=[ID, WAIT],
    loose=True,
)
XAI_CANCEL = described(
    "Cancel a video, in xAI's words",
    "xAI has no such call; here it is as everywhere.",
    {200: ("Cancelled.", XAI_FAILED)},
    parameters=[ID],
    loose=True,
)
CONTENT = described(
    "Read a video's file",
    "409 until it is completed, 410 once it was purged; of one that came to nothing, why.",
    {
        404: examples.ERRORS[404],
        409: examples.ERRORS[409],
        410: ("Purged.", examples.error("result_gone", "Purged.")),
    },
    parameters=[ID, parameter("variant", "query", "`video` (the default), `thumbnail` or `spritesheet`."), WAIT],
    also=answers_with_bytes,
)
