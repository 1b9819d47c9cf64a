"""One capability per module: a small Protocol and its models."""
