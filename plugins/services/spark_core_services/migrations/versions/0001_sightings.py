"""How each service was last seen."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "services_sightings",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("identity", sa.String(200), nullable=False),
        sa.Column("seen_at", moment, nullable=False),
        sa.Column("restarts", sa.Integer, nullable=False),
        sa.Column("restarted_at", moment, nullable=True),
        sa.Column("expected_until", moment, nullable=True),
        sa.Column("patched", sa.String(200), nullable=True),
    )
