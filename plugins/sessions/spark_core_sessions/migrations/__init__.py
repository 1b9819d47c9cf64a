"""The tables of session processors."""
