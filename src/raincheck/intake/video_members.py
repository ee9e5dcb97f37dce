"""Takes the members of a call for a video in any dialect, hands on the Order and how it is to be deferred.

The dialects share one reader: each spelling of a member is understood in all of them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import structs

from raincheck.core.errors import BadInput
from raincheck.core.model import Attachment
from raincheck.core.videos import AspectRatio, Resolution
from raincheck.intake.admit import Options, Submission
from raincheck.intake.options import client_retry, idempotency_key, read_options, words, yes_or_text
from raincheck.intake.videos import EDITS, GENERATIONS, Given, Order, Settled

NOTHING = msgspec.Raw(b"null")


class Reference(msgspec.Struct, omit_defaults=True):
    """Where an input is: exactly one of these is set."""

    url: str | None = None
    """http, https or a data URI."""
    file_id: str | None = None
    """An uploaded file."""
    id: str | None = None
    """A video that was made here."""
    request_id: str | None = None
    """The same."""
    image_url: str | None = None
    video_url: str | None = None


class VideoBody(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What may be asked of a video. Other members are left to the upstream."""

    model: str | None = None
    prompt: str | None = None
    seconds: float | str | None = None
    duration: float | str | None = None
    size: str | None = None
    aspect_ratio: AspectRatio | None = None
    resolution: Resolution | None = None
    seed: int | str | None = None
    image: Reference | str | None = None
    image_url: Reference | str | None = None
    input_reference: Reference | str | None = None
    reference_images: list[Reference | str] | None = None
    video: Reference | str | None = None
    video_url: str | None = None
    user: str | None = None
    webhook_url: str | None = None
    webhook_events: list[str] | None = None
    include_result: bool | str | None = None
    metadata: dict[str, str] | None = None
    service_tier: str | None = None
    raincheck: msgspec.Raw = NOTHING
    deferred: bool | str | None = None


_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)([.][0-9]+)?")
_BODY = msgspec.json.Decoder(VideoBody)
_KNOWN = frozenset(VideoBody.__struct_fields__)


@dataclass(frozen=True, slots=True)
class Wish:
    """A call for a video, and how it is to be deferred."""

    order: Order
    options: Options
    service_tier: str | None
    idempotency_key: str | None
    client_retry: int | None

    def submission(self, settled: Settled) -> Submission:
        return Submission(
            path=self.order.path,
            model=settled.ask.model,
            payload=msgspec.json.encode(settled.ask),
            attachments=settled.attachments,
            service_tier=self.service_tier,
            options=self.options,
            idempotency_key=self.idempotency_key,
            client_retry=self.client_retry,
        )


@dataclass(slots=True)
class Sheet:
    """The members of a call, and what it brought along."""

    body: VideoBody
    extra: dict[str, msgspec.Raw]
    files: Mapping[str, Sequence[Attachment]] = field(default_factory=dict[str, Sequence[Attachment]])
    is_form: bool = False


def sheet_of(
    members: Mapping[str, msgspec.Raw],
    files: Mapping[str, Sequence[Attachment]] | None = None,
    *,
    is_form: bool = False,
) -> Sheet:
    """The members of a call, sorted, and the files that came beside them. Raises BadInput."""
    known = {name: raw for name, raw in members.items() if name in _KNOWN}
    extra = {name: raw for name, raw in members.items() if name not in _KNOWN and bytes(raw) != b"null"}
    try:
        body = _BODY.decode(msgspec.json.encode(known))
    except msgspec.ValidationError as error:
        words, _, where = str(error).partition(" - at `$.")
        name = where.partition("`")[0]
        param = name.partition(".")[0].partition("[")[0] or None
        raise BadInput(f"`{name or 'body'}` is wrong: {words}.", param=param) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadInput(f"The body has a member that is not valid JSON: {error}.") from None
    return Sheet(body, extra, files or {}, is_form)


def wish_of(
    sheet: Sheet, path: str, headers: Mapping[bytes, bytes], *, default_seconds: float | None = None, **fixed: Any
) -> Wish:
    """What the members ask for; `fixed` are fields of the Order that the route decides, `default_seconds` is how long
    a video is that is made from nothing. Raises BadInput."""
    body = sheet.body
    order = Order(
        path=path,
        model=body.model,
        prompt=body.prompt or "",
        seconds=_seconds(body),
        size=body.size or None,
        aspect_ratio=body.aspect_ratio,
        resolution=body.resolution,
        seed=_seed(body.seed),
        image=_one(sheet, "image", image=body.image, input_reference=body.input_reference, image_url=body.image_url),
        reference_images=_references(sheet),
        video=_one(sheet, "video", video=body.video, video_url=body.video_url),
        user=body.user,
        extra=sheet.extra,
    )
    order = structs.replace(order, **fixed)
    if order.seconds is None and order.video is None:
        order = structs.replace(order, seconds=default_seconds)
    if order.path == GENERATIONS and order.video is not None and not order.like:
        order = structs.replace(order, path=EDITS)  # Some clients of xAI's edit in this way.
    options = _options(body, read_options(body.raincheck, headers))
    return Wish(order, options, body.service_tier, idempotency_key(headers), client_retry(headers))


def _options(body: VideoBody, options: Options) -> Options:
    """The options, where the body itself says some of them: then it wins. Raises BadInput."""
    include = body.include_result
    include = yes_or_text(include) if isinstance(include, str) else include
    if isinstance(include, str):
        raise BadInput(f"include_result must be true or false, not {include[:40]!r}.", param="include_result")
    said = {
        "webhook_url": body.webhook_url,
        "webhook_events": None if body.webhook_events is None else tuple(words(body.webhook_events)),
        "include_result": include,
        "metadata": body.metadata or None,
    }
    return structs.replace(options, **{name: value for name, value in said.items() if value is not None})


def _one(sheet: Sheet, name: str, **said: Reference | str | None) -> Given | None:
    """An input that may be said in several ways, but in one of them only."""
    found = [Given(part=part) for member in said for part in sheet.files.get(member, ())]
    found += [_given(value, member) for member, value in said.items() if value not in (None, "")]
    if len(found) > 1:
        raise BadInput(f"The call gives more than one `{name}`; give one.", param=name)
    return found[0] if found else None


def _references(sheet: Sheet) -> tuple[Given, ...]:
    files = (Given(part=part) for part in sheet.files.get("reference_images", ()))
    named = (_given(each, "reference_images") for each in sheet.body.reference_images or ())
    return (*files, *named)


def _given(value: Reference | str | None, param: str) -> Given:
    """Raises BadInput for what says nothing, or two things."""
    if isinstance(value, str):
        return _named(value)
    said = {} if value is None else {name: text for name, text in structs.asdict(value).items() if text}
    if len(said) != 1:
        raise BadInput(f"`{param}` must say one of url, file_id and request_id.", param=param)
    [(name, text)] = said.items()
    match name:
        case "file_id":
            return Given(file=text)
        case "id" | "request_id":
            return _named(text) if text.startswith("file") else Given(request=text)
        case _:
            return Given(url=text)


def _named(text: str) -> Given:
    """What a bare text names: a URL, a file's id or a request's."""
    if ":" in text or "/" in text:
        return Given(url=text)
    return Given(file=text) if text.startswith(("file-", "file_")) else Given(request=text)


def _seconds(body: VideoBody) -> float | None:
    given = body.seconds if body.seconds is not None else body.duration
    if given is None or not isinstance(given, str):
        return given
    if not _NUMBER.fullmatch(given):
        raise BadInput(f"seconds must be a number, not {given[:40]!r}.", param="seconds")
    return float(given)


def _seed(given: int | str | None) -> int | None:
    if given is None or isinstance(given, int):
        seed = given
    else:
        seed = int(given) if given.isascii() and given.removeprefix("-").isdecimal() and len(given) < 21 else None
        if seed is None:
            raise BadInput(f"seed must be a whole number, not {given[:40]!r}.", param="seed")
    if seed is not None and not -(1 << 63) <= seed < 1 << 64:
        raise BadInput("seed must fit into 64 bits.", param="seed")
    return seed
