"""The HTTP edge: bytes to submissions, records to JSON, one module per dialect and resource."""
