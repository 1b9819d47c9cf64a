"""Promotions, what happened in them, and the gate before which they and swaps queue."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_number = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "promotions",
        sa.Column("number", _number, primary_key=True),
        sa.Column("id", sa.String(40), nullable=False, unique=True),
        sa.Column("plan", sa.String(100), nullable=False),
        # 1 while it runs, else null: so at most one does, whoever admits it.
        sa.Column("running", sa.Integer, nullable=True, unique=True),
        sa.Column("promotion", sa.Text, nullable=False),
    )
    op.create_table(
        "promotion_events",
        sa.Column("id", _number, primary_key=True),
        sa.Column("promotion", sa.String(40), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_index("ix_promotion_events", "promotion_events", ["promotion", "id"])
    gate = op.create_table("promotion_gate", sa.Column("id", sa.Integer, primary_key=True))
    op.bulk_insert(gate, [{"id": 1}])
