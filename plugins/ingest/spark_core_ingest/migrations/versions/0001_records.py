"""What has been indexed, record by record."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "ingest_records",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("generation", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(100), nullable=False),
        sa.Column("record_id", sa.String, nullable=False),
        sa.Column("occurrence", sa.Integer, nullable=False),
        sa.Column("hash", sa.LargeBinary(16), nullable=False),
        sa.Column("chunks", sa.Integer, nullable=False),
        sa.UniqueConstraint("generation", "kind", "record_id", "occurrence"),
    )
