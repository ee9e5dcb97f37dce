"""Takes the `raincheck` member, what may stand beside it, and the `Raincheck-…` headers; hands on Options."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, cast

import msgspec

from raincheck.core.clock import micros
from raincheck.core.errors import BadInput
from raincheck.intake.admit import Options
from raincheck.intake.bodies import TELLING

Moment = float | Annotated[datetime, msgspec.Meta(tz=True)]
"""Unix seconds, or an RFC 3339 string."""

PREFIX = b"raincheck-"
LATEST = 1e11
"""Seconds; far beyond what is allowed, and small enough to compute with."""

NONE = Options()
_OBJECT = msgspec.json.Decoder(dict[str, Any] | None)
_ANY = msgspec.json.Decoder()


class OptionsBody(msgspec.Struct, forbid_unknown_fields=True, rename=None):
    """The body member `raincheck`: what may be asked of a deferred request."""

    webhook_url: str | None = None
    webhook_events: list[str] | None = None
    include_result: bool | None = None
    not_before: Moment | None = None
    deadline: Moment | None = None
    expires_in: float | None = None
    metadata: dict[str, str] | None = None
    max_attempts: int | None = None


def deferred_options(members: Mapping[str, msgspec.Raw], headers: Mapping[bytes, bytes]) -> Options:
    """The options of a call that is deferred, from all its members: where several say something, `raincheck` wins, then
    the member beside it, then the header. Raises BadInput."""
    beside = {name: _ANY.decode(members[name]) for name in TELLING if name in members}
    return read_options(
        members.get("raincheck"), headers, {name: value for name, value in beside.items() if value is not None}
    )


def read_options(
    raw: msgspec.Raw | None, headers: Mapping[bytes, bytes], beside: Mapping[str, object] | None = None
) -> Options:
    """The options of a call; where both say something, the body wins. Raises BadInput."""
    given = _from_headers(headers) | dict(beside or {})
    if raw is not None:
        try:
            given |= _OBJECT.decode(raw) or {}
        except msgspec.DecodeError as error:
            raise BadInput(f"`raincheck` must be an object: {error}.", param="raincheck") from None
    if not given:
        return NONE
    try:
        body = msgspec.convert(given, OptionsBody)
    except msgspec.ValidationError as error:
        raise _wrong(str(error)) from None
    return Options(
        webhook_url=body.webhook_url,
        webhook_events=tuple(body.webhook_events or ()),
        include_result=bool(body.include_result),
        not_before=moment(body.not_before, "not_before"),
        deadline=moment(body.deadline, "deadline"),
        expires_in=_length(body.expires_in, "expires_in"),
        metadata=body.metadata or {},
        max_attempts=body.max_attempts,
    )


def idempotency_key(headers: Mapping[bytes, bytes]) -> str | None:
    """What the caller calls this call, so that it is known again."""
    key = headers.get(b"idempotency-key")
    return None if key is None else key.decode("latin-1")


def client_retry(headers: Mapping[bytes, bytes]) -> int | None:
    """Which retry of its own the client says this is."""
    retry = headers.get(b"x-stainless-retry-count")
    return int(retry) if retry is not None and retry.isdigit() and len(retry) < 4 else None


def moment(given: float | datetime | None, param: str) -> int | None:
    """Microseconds since the epoch of a time. Raises BadInput."""
    if given is None:
        return None
    value = given.timestamp() if isinstance(given, datetime) else given
    if not 0 <= value < LATEST:
        raise BadInput(f"{param} must be Unix seconds or an RFC 3339 time, not {given}.", param=param)
    return micros(value)


def _length(given: float | None, param: str) -> int | None:
    if given is not None and not 0 <= given < LATEST:
        raise BadInput(f"{param} must be a number of seconds from now, more than 0, not {given:g}.", param=param)
    return None if given is None else micros(given)


def read_moment(text: str, param: str) -> int:
    """A time from a header or a query: Unix seconds or RFC 3339. Raises BadInput."""
    try:
        value = msgspec.convert(number_or_text(text), Moment)
    except msgspec.ValidationError:
        raise BadInput(f"{param} must be Unix seconds or an RFC 3339 time, not {text!r}.", param=param) from None
    return cast("int", moment(value, param))


def read_limit(text: str, most: int, *, param: str = "limit") -> int:
    """How many items of a list a query asks for. Raises BadInput."""
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and 1 <= int(text) <= most):
        raise BadInput(f"{param} must be a whole number from 1 to {most}, not {text!r}.", param=param)
    return int(text)


def read_after(params: Mapping[str, str]) -> str | None:
    """Behind which item of a list a query goes on. Raises BadInput for one that names none."""
    if (after := params.get("after")) == "":
        raise BadInput(
            "after must be the `last_id` of the page before; leave it out for the first page.", param="after"
        )
    return after


def words(texts: Iterable[str]) -> list[str]:
    """The words of texts that have commas between them: a header, a query and a form may say a list in this way."""
    return [word for text in texts for each in text.split(",") if (word := each.strip())]


def yes_or_text(text: str) -> bool | str:
    return {"true": True, "false": False}.get(text.lower(), text)


def number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _from_headers(headers: Mapping[bytes, bytes]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, value in headers.items():
        if not name.startswith(PREFIX):
            continue
        option, text = name[len(PREFIX) :].decode("latin-1").replace("-", "_"), value.decode("latin-1")
        match option:
            case "webhook_url":
                given[option] = text
            case "webhook_events":
                given[option] = words([text])
            case "include_result":
                given[option] = yes_or_text(text)
            case "not_before" | "deadline" | "expires_in":
                given[option] = number_or_text(text)
            case "max_attempts":
                given[option] = int(text) if text.isdecimal() and len(text) < 10 else text
            case "metadata":
                given[option] = _metadata(value)
            case _:
                continue  # Such as Raincheck-Version, which a proxy may pass on.
    return given


def _metadata(value: bytes) -> object:
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadInput("The header Raincheck-Metadata must be a JSON object of strings.", param="metadata") from None


def _wrong(words: str) -> BadInput:
    """The sentence msgspec makes, with the member it speaks of as `param`."""
    _, _, where = words.partition("`$.")
    param = where.partition("`")[0].partition("[")[0] or "raincheck"
    known = ", ".join(OptionsBody.__struct_fields__)
    return BadInput(f"The options of the request are wrong: {words}. Known options: {known}.", param=param)
