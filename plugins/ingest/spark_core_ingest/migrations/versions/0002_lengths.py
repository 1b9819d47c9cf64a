"""How long each record's text is, in the tokens that BM25 sees; unknown for older rows."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("ingest_records", sa.Column("tokens", sa.Integer, nullable=True))
