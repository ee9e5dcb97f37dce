"""A response that its server gave up, as a Failure that says whether another try makes sense."""

from dataclasses import replace
from typing import Any, cast

import msgspec

from raincheck.core.outcome import Failure, FailureKind
from raincheck.core.responses import Json
from raincheck.upstream.openai import failures

_HOPELESS = frozenset({"bio_policy", "data_residency_mismatch", "misalignment_policy_violation"})
_ABOUT_IMAGES = ("image", "invalid_image", "invalid_base64_image", "unsupported_image", "empty_image")
"""How the codes begin that say what is wrong with a picture."""


def failed(name: str, holder: Json, *, begun: bool) -> Failure:
    """`holder` is an `error` event or a failed Response; `begun` says that there was output."""
    inner: Any = holder.get("error")
    error = cast("Json", inner) if isinstance(inner, dict) else {"message": inner} if inner else holder
    told = {key: error.get(key) for key in ("message", "code", "param")}
    if error.get("type") != "error":
        told["type"] = error.get("type")
    failure = failures.streamed(name, msgspec.json.encode({"error": told}))
    code = failure.error.code or ""
    if code in _HOPELESS or code.startswith(_ABOUT_IMAGES):
        return replace(failure, kind=FailureKind.REJECTED)
    # Busy means that nothing was done; once there was output, this try counts.
    started = failure.kind is FailureKind.BUSY and begun
    return replace(failure, kind=FailureKind.TRANSIENT) if started else failure
