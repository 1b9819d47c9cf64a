"""Swaps, what happened in them, and models that are wished for."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_number = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "swaps",
        sa.Column("number", _number, primary_key=True),
        sa.Column("id", sa.String(40), nullable=False, unique=True),
        sa.Column("host", sa.String(100), nullable=False),
        sa.Column("model", sa.String(200), nullable=True),
        sa.Column("outcome", sa.String(20), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended", _number, nullable=True),
        sa.Column("swap", sa.Text, nullable=False),
    )
    # At most one of each host runs, whoever admits it.
    op.create_index(
        "ix_swaps_running",
        "swaps",
        ["host"],
        unique=True,
        sqlite_where=sa.text("outcome IS NULL"),
        postgresql_where=sa.text("outcome IS NULL"),
    )
    op.create_index("ix_swaps_ended", "swaps", ["ended"])
    op.create_table(
        "swap_events",
        sa.Column("id", _number, primary_key=True),
        sa.Column("swap", sa.String(40), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
    )
    op.create_index("ix_swap_events_swap", "swap_events", ["swap", "id"])
    op.create_table(
        "swap_wishes",
        sa.Column("id", sa.String(200), primary_key=True),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen", sa.DateTime(timezone=True), nullable=False),
    )
