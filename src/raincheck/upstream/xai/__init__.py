"""The `xai` kind of upstream: a server with xAI's video API."""

from raincheck.upstream.xai.upstream import XaiUpstream

__all__ = ["XaiUpstream"]
