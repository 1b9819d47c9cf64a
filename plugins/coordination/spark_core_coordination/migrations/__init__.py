"""The tables of reservations."""
