"""Whom the GPU is lent to, and what went wrong on its way."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.add_column("coordination_gate", sa.Column("lock", NUMBER, nullable=True))
    op.add_column(
        "coordination_gate", sa.Column("error", sa.Text, nullable=False, server_default="")
    )
