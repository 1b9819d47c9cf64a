"""Reservations, what became of them, and whether the GPU is out on loan."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "coordination_locks",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("holder", sa.String(200), nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("release_gpu", sa.Boolean, nullable=False),
        sa.Column("acquired_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
    )
    op.create_table(
        "coordination_lock_events",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("lock", NUMBER, sa.ForeignKey("coordination_locks.id"), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
    )
    gate = op.create_table(
        "coordination_gate",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("gpu", sa.String(20), nullable=False),
    )
    op.bulk_insert(gate, [{"id": 1, "gpu": "home"}])
