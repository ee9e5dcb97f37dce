"""The upstream of kind `preview`: draws, edits and extends videos by rules instead of by a model, and says so."""

from raincheck.upstream.preview.upstream import PreviewUpstream

__all__ = ["PreviewUpstream"]
