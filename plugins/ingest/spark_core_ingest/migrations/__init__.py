"""The ingest's tables."""
