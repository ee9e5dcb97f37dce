"""The codes that may stand in a log line: what an upstream calls its own errors may quote someone's payload."""

from raincheck.core.errors import AttachmentGone, NoObjectStore, UpstreamBroke

OUR_CODES = frozenset(
    (
        "adapter_error",
        "batch_cancelled",
        "batch_expired",
        "cancelled",
        "caption_not_drawable",
        "deadline_exceeded",
        "edit_not_understood",
        "failed",
        "files_need_deferral",
        "handler_busy",
        "handler_error",
        "handler_rejected",
        "handler_result_invalid",
        "input_missing",
        "invalid_request",
        "lease_lapsed",
        "media_refused",
        "moderation_blocked",
        "preview_limit",
        "remote_job_failed",
        "remote_job_lost",
        "remote_result_refused",
        "renderer_crashed",
        "result_too_large",
        "scratch_full",
        "stream_not_supported",
        "tools_not_supported",
        "upstream_busy",
        "upstream_cut_off",
        "upstream_disconnected",
        "upstream_down",
        "upstream_error",
        "upstream_key_refused",
        "upstream_not_json",
        "upstream_not_video",
        "upstream_refused",
        "upstream_timeout",
        "upstream_unreachable",
        "videos_are_deferred",
    )
)
"""The codes of reasons that Raincheck itself gives, all that are logged; docs/reference/errors.md explains them."""

OF_FILES = frozenset(error.code for error in (AttachmentGone, NoObjectStore, UpstreamBroke))
"""Those of errors that an attempt may meet with its files; the same page has them among the errors of calls."""
