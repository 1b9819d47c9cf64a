"""How far each processor is with each file, what failed, what ran, and what was found."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
MOMENT = sa.DateTime(timezone=True)
KEY = sa.Text


def upgrade() -> None:
    op.create_table(
        "session_processor_state",
        sa.Column("processor_name", sa.String(60), primary_key=True),
        sa.Column("session_file", KEY, primary_key=True),
        sa.Column("username", sa.String(300), nullable=False),
        sa.Column("processed_at", MOMENT, nullable=False),
        sa.Column("items_extracted", sa.BigInteger, nullable=False),
        sa.Column("file_hash", sa.String(64), nullable=True),
        # Null in rows from before: then the hash is that of the whole file.
        sa.Column("position", sa.BigInteger, nullable=True),
        sa.Column("stamp", sa.String(120), nullable=False, server_default=""),
    )
    op.create_table(
        "session_processor_failures",
        sa.Column("processor_name", sa.String(60), primary_key=True),
        sa.Column("session_file", KEY, primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("failed_at", MOMENT, nullable=False),
        sa.Column("next_try_at", MOMENT, nullable=False),
        sa.Column("error", sa.String(300), nullable=False),
    )
    op.create_table(
        "session_processor_runs",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("processor_name", sa.String(60), nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=False),
        sa.Column("scanned", sa.Integer, nullable=False),
        sa.Column("processed", sa.Integer, nullable=False),
        sa.Column("skipped", sa.Integer, nullable=False),
        sa.Column("errors", sa.Integer, nullable=False),
        sa.Column("items_extracted", sa.BigInteger, nullable=False),
        sa.Column("remaining", sa.Integer, nullable=False),
    )
    op.create_index("ix_session_processor_runs", "session_processor_runs", ["processor_name", "id"])
    op.create_table(
        "session_usage_events",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("session", KEY, nullable=False),
        sa.Column("username", sa.String(300), nullable=False),
        sa.Column("at", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("name", sa.String(300), nullable=False),
        sa.Column("tool_use_id", sa.String(200), nullable=False),
        sa.Column("failed", sa.Boolean, nullable=False),
    )
    op.create_index("ix_session_usage_events", "session_usage_events", ["session", "tool_use_id"])
    op.create_table(
        "session_knowledge",
        sa.Column("id", sa.String(20), primary_key=True),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("domain", sa.String(200), nullable=False),
        sa.Column("entities", sa.JSON, nullable=False),
        sa.Column("detection", sa.String(40), nullable=False),
        sa.Column("confidence", sa.Float, nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("found_at", MOMENT, nullable=False),
    )
    op.create_index("ix_session_knowledge", "session_knowledge", ["domain"])
    op.create_table(
        "session_evidence",
        sa.Column("item", sa.String(20), primary_key=True),
        sa.Column("session_file", KEY, primary_key=True),
        sa.Column("username", sa.String(300), nullable=False),
        sa.Column("detection", sa.String(40), nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False),
    )
    op.create_table(
        "session_hints",
        sa.Column("item", sa.String(20), primary_key=True),
        sa.Column("other", sa.String(20), primary_key=True),
        sa.Column("kind", sa.String(20), primary_key=True),
        sa.Column("score", sa.Float, nullable=False),
    )
