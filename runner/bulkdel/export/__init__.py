"""Reading the export: bytes to rows, once. Knows nothing of requests, pace or outcomes."""
