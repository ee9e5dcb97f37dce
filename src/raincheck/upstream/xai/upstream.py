"""The upstream for servers with xAI's video API."""

from typing import Unpack

from raincheck.upstream.videos.remote import Access, Pace, RemoteVideos
from raincheck.upstream.xai.dialect import XaiVideos

_PACE = Pace(5.0, 5.0)


class XaiUpstream(RemoteVideos):
    """xAI's own service, or one that speaks as it does."""

    def __init__(self, name: str, base_url: str, *, pace: Pace = _PACE, **access: Unpack[Access]) -> None:
        super().__init__(name, base_url, XaiVideos, pace, **access)
