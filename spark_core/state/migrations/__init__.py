"""Core's tables, one numbered Alembic revision after another."""
