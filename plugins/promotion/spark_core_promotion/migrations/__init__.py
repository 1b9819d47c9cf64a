"""The tables of promotions."""
