"""The tables of swaps."""
