"""The gRPC edge: the services of xAI's API, as its unmodified xai-sdk calls them."""

import os

# Set before the library is loaded. Its handlers around fork run in the children that this server starts (ffmpeg), and
# some of those end before they began: a good video then "cannot be read". No child of this server ever uses gRPC.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
