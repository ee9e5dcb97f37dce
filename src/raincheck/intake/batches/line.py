"""Takes one line of a batch's input, hands on the call that it asks for; or says what is wrong with it."""

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import NamedTuple
from uuid import UUID

import msgspec
from msgspec.structs import replace

from raincheck.core.batches import LineError
from raincheck.core.errors import BadInput
from raincheck.core.operations import operation_of, queue_of
from raincheck.intake.admit import check_model
from raincheck.intake.batches.calls import VIDEO_URLS, VideoCalls, path_of
from raincheck.intake.batches.xai import convert
from raincheck.intake.bodies import TEXT, check_messages, member, read_object
from raincheck.upstream.catalogue import Catalogue

LONGEST_NAME = 256
"""Characters of a custom id."""
WRONG_URL = "invalid_url"
"""The code of a line that asks what no batch can, or not what its batch's `endpoint` says."""
OURS = "raincheck:"
"""What no custom id may begin with but those that are made up."""


class Asked(NamedTuple):
    """What a line asks for."""

    custom_id: str
    url: str
    """As the line says it: `/v1/chat/completions`."""
    path: str
    """Where an upstream takes it, below its base URL."""
    model: str
    queue: str
    members: Mapping[str, msgspec.Raw]
    """Of its body."""


class LineRefused(Exception):
    """A line is not fit to become a request; `error` says why, and which."""

    def __init__(self, error: LineError) -> None:
        super().__init__(error.message)
        self.error = error


class Lines:
    """Understands the lines of one batch."""

    def __init__(
        self, *, endpoint: str | None, xai: bool, videos: VideoCalls, catalogue: Catalogue | None = None
    ) -> None:
        """`endpoint` is what all lines have to ask, if the batch says so. With `xai`, a line may also be in the form of
        xAI's calls. With a catalogue, a model that nobody serves is refused; without, it is taken, as from a line that
        was checked before."""
        self.endpoint = endpoint
        self._xai = xai
        self._videos = videos
        self._catalogue = catalogue
        self._paths: dict[str, str] = {}
        self._queues: dict[tuple[str, str], str] = {}

    def read(self, text: bytes, number: int) -> Asked:
        """What line `number` asks for. Raises LineRefused."""
        try:
            try:
                line = _LINE.decode(text)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                line = self._otherwise(text, number)
            return self._asked(line)
        except LineRefused as refused:
            raise LineRefused(replace(refused.error, line=number)) from None
        except BadInput as error:
            at_top = error.param in _AT_TOP
            param = error.param if at_top else f"body.{error.param}" if error.param else "body"
            code = WRONG_URL if error.param == "url" else error.code
            raise LineRefused(LineError(code, error.message, number, param)) from None

    def _asked(self, line: "_Line") -> Asked:
        _check_name(line.custom_id)
        if line.method != "POST":
            raise _wrong("invalid_method", f"`method` must be POST, not {line.method[:20]!r}.", "method")
        url, path = line.url, self._path(line.url)
        members = read_object(bytes(line.body))
        if (stream := members.get("stream")) is not None and bytes(stream) not in _NO:
            message = "Streaming is not supported in a batch; leave `stream` out. The result is read when it is whole."
            raise _wrong("streaming_unsupported", message, "body.stream")
        if "service_tier" in members:
            member(members, "service_tier", TEXT)
        if url in VIDEO_URLS:
            model = self._videos.check(url, members)
        else:
            model = member(members, "model", TEXT)
            if path == "/chat/completions":
                check_messages(members)
        if model is None:
            raise BadInput("`model` is missing: in a batch each line names its own.", param="model")
        return Asked(line.custom_id, url, path, model, self._queue(model, path), members)

    def _path(self, url: str) -> str:
        if (path := self._paths.get(url)) is not None:
            return path
        if self.endpoint is not None and url != self.endpoint:
            message = (
                f"`url` is {url[:200]!r}, which does not match the batch's endpoint {self.endpoint!r}: change this "
                "line, or make the batch with the `endpoint` that its lines ask."
            )
            raise _wrong(WRONG_URL, message, "url")
        path = path_of(url)
        if len(self._paths) < _MOST_REMEMBERED:
            self._paths[url] = path
        return path

    def _queue(self, model: str, path: str) -> str:
        key = (model, path)
        if (queue := self._queues.get(key)) is not None:
            return queue
        check_model(model)
        operation = operation_of(path)
        if self._catalogue is not None:
            self._catalogue.require(model, operation)
        queue = queue_of(model, operation)
        if len(self._queues) < _MOST_REMEMBERED:
            self._queues[key] = queue
        return queue

    def _otherwise(self, text: bytes, number: int) -> "_Line":
        """The line, when it is in xAI's form; else says why it is in none."""
        try:
            members = read_object(text)
        except BadInput as error:
            raise _wrong("invalid_json_line", error.message.replace("The body", "This line", 1)) from None
        if self._xai and "batch_request" in members:
            name = _text(members, "batch_request_id")
            call = convert(members["batch_request"])
            return _Line(_made_up(text, number) if name is None else name, "POST", call.url, call.body)
        missing = (name for name in ("custom_id", "method", "url") if _text(members, name) is None)
        if (name := next(missing, None)) is None and "body" in members:
            raise _wrong("invalid_json_line", "This line is no request: it has a member twice.")
        raise _wrong("missing_required_parameter", f"Missing required parameter: `{name or 'body'}`.", name or "body")


class _Line(msgspec.Struct):
    """A line in the form of OpenAI's batch files."""

    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


_LINE = msgspec.json.Decoder(_Line)
_NO = (b"false", b"null")
_AT_TOP = ("url", "batch_request")
"""What an error may name that is not inside the body."""
_UNKEEPABLE = re.compile("[\0\ud800-\udfff]")
_MOST_REMEMBERED = 4_096


def write_line(custom_id: str, url: str, body: msgspec.Raw) -> bytes:
    """A line in the form of OpenAI's batch files, with its break. Raises LineRefused for an id that cannot be kept."""
    _check_name(custom_id)
    # JSON may be spread over several lines, but its strings hold no bare break.
    flat = msgspec.Raw(bytes(body).replace(b"\n", b" ").replace(b"\r", b" "))
    return msgspec.json.encode(_Line(custom_id, "POST", url, flat)) + b"\n"


def made_up_name(number: int) -> str:
    """What to call a line whose own custom id cannot be read; no other line of its batch is called so."""
    return f"{OURS}line-{number}"


def too_long(number: int, longest: int) -> LineError:
    """What to say of a line that was passed over because of its length."""
    size = f"{longest >> 20} MiB" if longest >= 1 << 20 else f"{longest} bytes"
    return LineError("line_too_long", f"This line is longer than the {size} that a request may have.", number)


def _text(members: Mapping[str, msgspec.Raw], name: str) -> str | None:
    try:
        return member(members, name, TEXT)
    except BadInput:
        raise _wrong("invalid_type", f"`{name}` must be a string.", name) from None


def _check_name(name: str) -> None:
    if not 0 < len(name) <= LONGEST_NAME:
        message = f"`custom_id` must have between 1 and {LONGEST_NAME} characters, not {len(name)}."
        raise _wrong("invalid_custom_id", message, "custom_id")
    if name.startswith(OURS):
        raise _wrong("invalid_custom_id", f"`custom_id` must not begin with `{OURS}`.", "custom_id")
    if not name.isprintable() and _UNKEEPABLE.search(name):
        message = "`custom_id` has a NUL or half a surrogate pair in it, which cannot be kept; remove it."
        raise _wrong("invalid_custom_id", message, "custom_id")


def _made_up(text: bytes, number: int) -> str:
    """An id for a line that has none: the same whenever the line is read again."""
    return str(UUID(bytes=blake2b(b"%d " % number + text, digest_size=16).digest(), version=4))


def _wrong(code: str, message: str, param: str | None = None) -> LineRefused:
    return LineRefused(LineError(code, message, param=param))
