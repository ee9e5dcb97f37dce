"""The `videos` kind of upstream: any server with OpenAI's videos API, whose jobs go on without us."""

from raincheck.upstream.videos.upstream import VideosUpstream

__all__ = ["VideosUpstream"]
