"""The gRPC edge, asked by the unmodified xai-sdk over real sockets."""
