"""`xai_api.Video`: videos made, edited and extended."""

from raincheck.grpc.videos.service import METHODS

__all__ = ["METHODS"]
