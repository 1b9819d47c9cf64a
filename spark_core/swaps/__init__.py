"""Swapping models: a transaction with a receipt, over every process and every host."""
