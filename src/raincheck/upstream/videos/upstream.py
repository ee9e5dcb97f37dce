"""The upstream for servers with OpenAI's videos API."""

from functools import partial
from typing import Unpack

from raincheck.upstream.videos.dialect import OpenAIVideos
from raincheck.upstream.videos.remote import Access, Pace, RemoteVideos

LARGEST_VIDEO = 4 << 30
_PACE = Pace(1.0, 5.0)


class VideosUpstream(RemoteVideos):
    """The hosted API, vLLM-Omni, SGLang Diffusion, another Raincheck, and the like."""

    def __init__(
        self, name: str, base_url: str, *, largest: int = LARGEST_VIDEO, pace: Pace = _PACE, **access: Unpack[Access]
    ) -> None:
        super().__init__(name, base_url, partial(OpenAIVideos, largest=largest), pace, **access)
