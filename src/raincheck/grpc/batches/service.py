"""The methods of `xai_api.BatchMgmt`."""

from raincheck.grpc.batches.changing import add, cancel, create
from raincheck.grpc.batches.reading import get, list_batches, list_requests, list_results, one_result
from raincheck.grpc.methods import Method, Methods
from raincheck.grpc.protos import batch_pb2

METHODS: Methods = {
    "/xai_api.BatchMgmt/CreateBatch": Method(batch_pb2.CreateBatchRequest, create),
    "/xai_api.BatchMgmt/GetBatch": Method(batch_pb2.GetBatchRequest, get),
    "/xai_api.BatchMgmt/ListBatches": Method(batch_pb2.ListBatchesRequest, list_batches),
    "/xai_api.BatchMgmt/CancelBatch": Method(batch_pb2.CancelBatchRequest, cancel),
    "/xai_api.BatchMgmt/AddBatchRequests": Method(batch_pb2.AddBatchRequestsRequest, add),
    "/xai_api.BatchMgmt/ListBatchRequestMetadata": Method(batch_pb2.ListBatchRequestMetadataRequest, list_requests),
    "/xai_api.BatchMgmt/ListBatchResults": Method(batch_pb2.ListBatchResultsRequest, list_results),
    "/xai_api.BatchMgmt/GetBatchRequestResult": Method(batch_pb2.GetBatchRequestResultRequest, one_result),
}
