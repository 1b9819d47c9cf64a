"""The tables of what was seen of services."""
