"""`xai_api.BatchMgmt`: batches that grow by calls, or are made from a file."""
