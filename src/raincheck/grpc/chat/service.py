"""The methods of `xai_api.Chat`."""

from raincheck.grpc.chat import completing, deferring, stored
from raincheck.grpc.methods import Method, Methods
from raincheck.grpc.protos import chat_pb2, deferred_pb2

METHODS: Methods = {
    "/xai_api.Chat/GetCompletion": Method(chat_pb2.GetCompletionsRequest, answer=completing.get_completion),
    "/xai_api.Chat/GetCompletionChunk": Method(chat_pb2.GetCompletionsRequest, stream=completing.get_completion_chunk),
    "/xai_api.Chat/StartDeferredCompletion": Method(chat_pb2.GetCompletionsRequest, answer=deferring.start),
    "/xai_api.Chat/GetDeferredCompletion": Method(deferred_pb2.GetDeferredRequest, answer=deferring.get),
    "/xai_api.Chat/GetStoredCompletion": Method(chat_pb2.GetStoredCompletionRequest, answer=stored.get),
    "/xai_api.Chat/DeleteStoredCompletion": Method(chat_pb2.DeleteStoredCompletionRequest, answer=stored.delete),
}
