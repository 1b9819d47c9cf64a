"""The annotations' Alembic history."""
