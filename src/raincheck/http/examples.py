"""What goes in and comes out, as /schema shows it."""

from typing import Any

ID = "req_0199a3c2f4b87d3e9a51c0de5f00ba47"
MESSAGES = [{"role": "user", "content": "What is a raincheck?"}]
USAGE = {"prompt_tokens": 14, "completion_tokens": 9, "total_tokens": 23}

CHAT: dict[str, Any] = {
    "model": "smollm2-135m",
    "messages": MESSAGES,
    "deferred": True,
    "raincheck": {"metadata": {"team": "blue"}, "expires_in": 3600},
}
TICKET: dict[str, Any] = {
    "id": ID,
    "request_id": ID,
    "object": "chat.completion",
    "status": "pending",
    "created": 1790000000,
    "model": "smollm2-135m",
    "choices": [],
}
XAI_TICKET = TICKET | dict.fromkeys(("id", "request_id"), "0199a3c2-f4b8-7d3e-9a51-c0de5f00ba47")
COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1790000004,
    "model": "smollm2-135m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "A promise to take you later."},
            "finish_reason": "stop",
        }
    ],
    "usage": USAGE,
}
BRIEF: dict[str, Any] = {
    "id": ID,
    "object": "request",
    "status": "pending",
    "operation": "chat.completion",
    "model": "smollm2-135m",
    "queue": "smollm2-135m",
    "service_tier": "default",
    "created_at": 1790000000.123,
    "started_at": None,
    "ended_at": None,
    "not_before": None,
    "deadline": 1790003600.123,
    "purge_at": None,
    "progress": None,
    "progress_message": None,
    "attempt": 0,
    "max_attempts": 5,
    "metadata": {"team": "blue"},
    "webhook_url": None,
    "webhook_events": [],
    "include_result": False,
    "usage": None,
    "error": None,
}
EVENT: dict[str, Any] = {
    "object": "event",
    "id": "evt_0199a3c2f4b87d3e9a51c0de5f00ba47",
    "type": "chat.completion.completed",
    "created_at": 1790000004,
    "timestamp": "2026-09-21T14:13:24.123Z",
    "data": {
        "id": ID,
        "status": "completed",
        "operation": "chat.completion",
        "model": "smollm2-135m",
        "usage": {"prompt_tokens": 14, "completion_tokens": 7, "total_tokens": 21},
    },
}
REQUEST: dict[str, Any] = BRIEF | {
    "position": 3,
    "position_estimated": False,
    "eta_seconds": 4.2,
    "waiting_for": {"reason": "position", "until": None, "message": "2 requests are ahead"},
    "attempts": [],
    "result": None,
    "result_status": None,
    "result_url": None,
    "result_size": None,
    "attachments": [],
}
CANCELLED = REQUEST | {"status": "cancelled", "ended_at": 1790000002.5, "position": None, "waiting_for": None}
PAGE = {"object": "list", "data": [BRIEF], "first_id": ID, "last_id": ID, "has_more": False}
DELETED = {"id": ID, "object": "request.deleted", "deleted": True}
EVENTS = (
    'event: status\ndata: {"id":"…","status":"processing",…}\n\n'
    'event: delta\nid: 7-1\ndata: {"choices":[{"delta":{"content":"A"}}],…}\n\n'
    'event: progress\ndata: {"progress":0.4,"progress_message":"token 40 of 100"}\n\n'
    'event: status\ndata: {"id":"…","status":"completed",…}\n\n'
)
MODEL = {"id": "smollm2-135m", "object": "model", "created": 0, "owned_by": "local"}
MODELS = {"object": "list", "data": [MODEL]}
EMBEDDING_CALL = {"model": "nomic-embed", "input": "a raincheck"}
EMBEDDING = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}]}
READY: dict[str, Any] = {
    "status": "ok",
    "store": "ok",
    "upstreams": [{"name": "local", "up": True, "models": ["smollm2-135m"], "down_since": None, "reason": None}],
}


def error(code: str, message: str, kind: str = "invalid_request_error", param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


XAI_ERROR = {"code": "Client specified an invalid argument", "error": "`messages` is empty; send at least one message."}
ERRORS: dict[int, tuple[str, object]] = {
    400: ("Not valid.", error("invalid_request", "`messages` is empty; send at least one message.", param="messages")),
    401: ("No API key, or a wrong one.", error("api_key_invalid", "This API key is unknown.", "authentication_error")),
    404: ("No such thing.", error("not_found", "No request 'req_1'.", "not_found_error")),
    409: ("In conflict with what is.", error("already_ended", "The request has already ended.")),
    413: ("Too large.", error("request_too_large", "The request body is too large.")),
    429: ("Too many.", error("too_many_pending", "This tenant has 100 pending requests.", "rate_limit_error")),
    503: ("Not just now.", error("store_unavailable", "The store cannot be written just now.", "server_error")),
}
