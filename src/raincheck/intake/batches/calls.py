"""The calls that a batch's lines may ask for, and what only an edge knows of some of them."""

import re
from collections.abc import Mapping
from typing import Protocol

import msgspec

from raincheck.core.errors import BadInput
from raincheck.core.model import Request, Result, Tenant
from raincheck.intake.admit import Submission

ENDPOINTS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/images/generations",
    "/v1/videos",
)
"""What is told to those who ask for something else; any other path that an upstream takes will do as well."""

VIDEO_URLS = ("/v1/videos", "/v1/videos/generations", "/v1/videos/edits", "/v1/videos/extensions")
"""The first as OpenAI's clients say it, the others as the native dialect and xAI's do."""

_URL = re.compile(r"/v1(/[a-z0-9_][a-z0-9_.-]*){1,6}")
_OURS = re.compile(r"/v1/(batches|files|requests|models|webhook_[a-z_]+|realtime)\b")


class VideoCalls(Protocol):
    """What lines that ask for videos come to, as calls would that came one by one."""

    def check(self, url: str, members: Mapping[str, msgspec.Raw]) -> str | None:
        """The model asked for, None when none is named. Raises BadInput; asks nobody."""
        ...

    async def submission(
        self, tenant: Tenant, url: str, members: Mapping[str, msgspec.Raw], fresh: list[str]
    ) -> Submission:
        """What to record; `fresh` takes the blobs this puts into the object store. Raises BadInput and its like."""
        ...


class VideoAnswers(Protocol):
    """What becomes of them."""

    def answer(self, url: str, request: Request, payload: bytes, result: Result) -> bytes:
        """What reading the finished video says, in the dialect of the url."""
        ...


def path_of(url: str) -> str:
    """Where an upstream takes it, below its base URL. Raises BadInput for what no batch can ask."""
    if len(url) > 200 or not _URL.fullmatch(url) or _OURS.match(url):
        raise BadInput(f"A batch cannot ask {url[:200]!r}; it can ask {', '.join(ENDPOINTS)}.", param="url")
    if url == VIDEO_URLS[0]:
        return "/videos/generations"
    return url.removeprefix("/v1")
