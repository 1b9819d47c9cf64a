"""What happened, who is told, and how far each of them is."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "coordination_cursors",
        sa.Column("source", sa.String(40), primary_key=True),
        sa.Column("position", sa.String(80), nullable=False),
    )
    op.create_table(
        "coordination_events",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("key", sa.String(200), nullable=False, unique=True),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
    )
    op.create_table(
        "coordination_deliveries",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("id", sa.String(40), nullable=False, unique=True),
        sa.Column("event", NUMBER, sa.ForeignKey("coordination_events.id"), nullable=False),
        sa.Column("receiver", sa.String(200), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("begun_at", MOMENT, nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.Column("error", sa.String(200), nullable=False),
    )
    op.create_index(
        "ix_coordination_deliveries", "coordination_deliveries", ["receiver", "state", "number"]
    )
    op.create_index("ix_coordination_deliveries_event", "coordination_deliveries", ["event"])
